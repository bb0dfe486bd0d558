package engines

import "coffer/policy"

// FoldASCII is policy.FoldASCII, by which all names are folded.
func FoldASCII(s string) string { return policy.FoldASCII(s) }

// FoldLetters is policy.FoldLetters, by which names of a directory are folded.
func FoldLetters(s string) string { return policy.FoldLetters(s) }
