package engines

import "coffer/policy"

// FoldASCII is policy.FoldASCII, by which all names are folded.
func FoldASCII(s string) string { return policy.FoldASCII(s) }
