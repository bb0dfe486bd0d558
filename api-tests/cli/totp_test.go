package cli

import (
	"strconv"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
	"github.com/rogpeppe/go-internal/testscript"
)

// cmdTOTP sets a variable to the code that an otpauth URL gives now, or so many periods later: "totp CODE url
// [periods]".
func cmdTOTP(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: totp variable url [periods]")
	}
	key, err := otp.NewKeyFromURL(args[1])
	ts.Check(err)
	periods := 0
	if len(args) == 3 {
		periods, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	period := time.Duration(key.Period()) * time.Second
	code, err := totp.GenerateCodeCustom(key.Secret(), time.Now().Add(time.Duration(periods)*period), totp.ValidateOpts{
		Period: uint(key.Period()), Digits: key.Digits(), Algorithm: key.Algorithm(),
	})
	ts.Check(err)
	ts.Setenv(args[0], code)
}
