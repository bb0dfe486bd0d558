package audit

import "coffer/engines"

// clear is a text as it is shown where texts are not hashed: paths, errors, and what is configured to be shown. Tokens
// within it are hashed all the same.
func (r *redactor) clear(s string) string {
	if r.raw {
		return s
	}
	return engines.ReplaceTokens(s, r.text)
}

// brief is clear for texts that clients can make as long as they like: one of more than maxText bytes is cut off, and
// the HMAC of the whole stands at its end.
func (r *redactor) brief(s string) string {
	shown := r.clear(s)
	if len(s) <= maxText {
		return shown
	}
	return shown[:min(shortened, len(shown))] + "... " + r.text(s)
}
