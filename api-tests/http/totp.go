package http

import (
	"strconv"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
)

// totpCode is the code that an otpauth URL gives at a time, or so many periods later.
func totpCode(address, periods string, now time.Time) (string, error) {
	key, err := otp.NewKeyFromURL(address)
	if err != nil || key.Secret() == "" {
		return "", errVariable
	}
	offset := 0
	if periods != "" {
		if offset, err = strconv.Atoi(periods); err != nil {
			return "", err
		}
	}
	period := uint(key.Period())
	return totp.GenerateCodeCustom(key.Secret(), now.Add(time.Duration(offset)*time.Duration(period)*time.Second),
		totp.ValidateOpts{Period: period, Digits: key.Digits(), Algorithm: key.Algorithm()})
}
