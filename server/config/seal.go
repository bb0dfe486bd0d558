package config

const sealShamir = "shamir"

const supportedSeals = `coffer supports "shamir"`

// decodeSeal reads the seal stanzas, of which one may be enabled. Disabled ones are those that a migration
// leaves behind.
func decodeSeal(top *scope, dst *Seal) {
	stanzas := append(top.labelled("seal"), top.labelled("kms")...)
	for _, s := range top.labelled("hsm") {
		s.report.fail(s.pos, s.path, "unsupported seal; %s", supportedSeals)
	}
	found := false
	for _, s := range stanzas {
		seal, disabled := decodeSealStanza(s)
		switch {
		case seal.Type != sealShamir:
			s.report.fail(s.pos, s.path, "unsupported seal; %s", supportedSeals)
		case disabled:
			s.report.warn(s.pos, s.path, "is disabled and ignored")
		case found:
			s.report.fail(s.pos, s.path, "only one seal can be enabled")
		default:
			found = true
			*dst = seal
		}
	}
}

func decodeSealStanza(s *scope) (seal Seal, disabled bool) {
	seal.Type = s.label
	s.boolean("disabled", &disabled)
	s.ignore("name", "priority", "purpose")
	if seal.Type != sealShamir {
		seal.Settings = s.settings()
	}
	s.finish()
	return seal, disabled
}

// settings consumes all scalars that are left, as text.
func (s *scope) settings() map[string]string {
	settings := map[string]string{}
	for key := range s.entries {
		if v, ok := s.scalar(key, "a string", kindString, kindNumber, kindBool); ok {
			settings[key] = v.text
		}
	}
	return settings
}
