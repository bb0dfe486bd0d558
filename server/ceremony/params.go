package ceremony

import "coffer/barrier/seal"

// checkShares checks numbers of shares in Vault's order and words. seal.Config.Validate has the same limits;
// what is shown to clients is worded here.
func checkShares(shares, threshold int) (problem string) {
	switch {
	case shares < 1:
		return "shares must be at least one"
	case threshold < 1:
		return "threshold must be at least one"
	case shares > 1 && threshold == 1:
		return "threshold must be greater than one for multiple shares"
	case shares > seal.MaxShares:
		return "shares must be less than 256"
	case threshold > seal.MaxShares:
		return "threshold must be less than 256"
	case threshold > shares:
		return "threshold cannot be larger than shares"
	}
	return ""
}
