package main

import (
	"coffer/barrier/seal"
	"coffer/server/config"
	"coffer/server/core"
)

// checkKeys looks at the files of keys: a seal's key that cannot be read is told before somebody initialises, and one
// that everybody can read is no secret.
func checkKeys(cfg *config.Config, state core.State, log *logging, env func(string) string) {
	if cfg.Seal.Type == seal.TypeStatic {
		checkSealKey(cfg.Seal.Current, state, log, env)
		if cfg.Seal.Previous.ID != "" {
			checkSealKey(cfg.Seal.Previous, state, log, env)
		}
	}
	for _, l := range cfg.Listeners {
		if l.TLS != nil && openToAll(l.TLS.KeyFile) {
			log.Warn("everybody on this machine can read the private key of a listener; chmod 0600 it, or 0640 with the "+
				"group of coffer", "file", l.TLS.KeyFile, "listener", l.Address)
		}
	}
}

func checkSealKey(k config.SealKey, state core.State, log *logging, env func(string) string) {
	where := k.Place.String() + ": " + k.Place.Key
	// Of a key that does not open data that is there, the core tells, again and again.
	if !state.Initialized {
		if key, err := k.Load(env); err != nil {
			log.Error("the key of the seal cannot be read: the server can be neither initialized nor opened with it; "+
				"it is read again when it is needed", "key_id", k.ID, "where", where, "error", config.Explain(err))
		} else {
			key.Zero()
		}
	}
	file := k.File
	if k.Inline.Len() > 0 {
		file = k.Place.File
	}
	if file != "" && openToAll(file) {
		log.Warn("everybody on this machine can read the key of the seal, and with it and the data everything; "+
			"chmod 0600 the file and give it to coffer's user", "key_id", k.ID, "file", file, "where", where)
	}
}
