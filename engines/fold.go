package engines

import "coffer/policy"

// FoldASCII is the form of a name in which upper and lower case are the same; see policy.FoldASCII.
func FoldASCII(name string) string { return policy.FoldASCII(name) }
