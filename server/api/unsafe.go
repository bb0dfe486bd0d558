package api

import "unsafe"

// unsafeText is b as a string without a copy, so that clearing b wipes the string. Whoever clears b makes sure that
// nobody uses the string afterwards. b is not empty.
func unsafeText(b []byte) string {
	return unsafe.String(&b[0], len(b)) //nolint:gosec // to leave no copies of key shares
}
