package engines

// MFARequirement is the answer to a login that waits for a second factor, as the client sees it.
type MFARequirement struct {
	RequestID string `json:"mfa_request_id"`
	// Constraints are all to be met; the names are those of login enforcements.
	Constraints map[string]MFAConstraint `json:"mfa_constraints"`
}

// MFAConstraint is met by any one of the methods.
type MFAConstraint struct {
	Any []MFAMethod `json:"any,omitempty"`
}

// MFAMethod is a way to prove who one is.
type MFAMethod struct {
	Type         string `json:"type"`
	ID           string `json:"id"`
	UsesPasscode bool   `json:"uses_passcode"`
	Name         string `json:"name,omitempty"`
}
