package config

// unauthenticated are the ceremonies that everybody may take part in, on listeners that do not say else.
type unauthenticated struct{ generateRoot, rekey bool }

// decodeUnauthenticated reads enable_unauthenticated_access, with which Vault 2.0 opens endpoints that need a token.
func decodeUnauthenticated(top *scope) unauthenticated {
	const key = "enable_unauthenticated_access"
	var u unauthenticated
	for _, name := range top.list(key) {
		switch name {
		case "generate-root":
			u.generateRoot = true
		case "rekey":
			u.rekey = true
		case "generate-operation-token":
			top.warn(key, "%q has no effect in coffer and is ignored", name)
		default:
			top.fail(key, `expected "generate-root" or "rekey", got %q`, name)
		}
	}
	return u
}

// decodeAccess reads one of the settings with which OpenBao opens and closes the same endpoints for one listener. It
// goes before what holds for all of them.
func decodeAccess(s *scope, key string, open bool) Access {
	switch closed := s.optional(key); {
	case closed != nil && *closed:
		return AccessNobody
	case closed != nil || open:
		return AccessEverybody
	default:
		return AccessAtMachine
	}
}
