package config

// decodeAudit reads the audit devices that OpenBao lets a configuration declare:
//
//	audit "TYPE" "PATH" { description = "…" options { file_path = "…" } }
//
// Whether a type and its options make sense is for the package audit to say.
func decodeAudit(top *scope) []AuditDevice {
	var devices []AuditDevice
	for _, e := range top.takeAll("audit") {
		devices = top.auditDevices(devices, e)
	}
	for i, d := range devices {
		for _, other := range devices[:i] {
			if other.Path == d.Path {
				top.report.fail(d.Place.Position, d.Place.Key, "declared twice; first on line %d", other.Place.Line)
			}
		}
	}
	return devices
}

// auditDevices adds what a stanza declares, in HCL or in JSON, where the labels are objects in one another.
func (s *scope) auditDevices(devices []AuditDevice, e entry) []AuditDevice {
	v := e.value
	switch {
	case v.kind == kindNull:
		return devices
	case v.kind == kindList:
		for _, element := range v.list {
			devices = s.auditDevices(devices, entry{labels: e.labels, pos: element.pos, value: element})
		}
		return devices
	case v.kind == kindBlock && len(e.labels) < 2 && onlyBlocks(v.entries) && v.entries[0].key != "options":
		for _, member := range v.entries {
			labels := append(append(e.labels[:len(e.labels):len(e.labels)], member.key), member.labels...)
			devices = s.auditDevices(devices, entry{labels: labels, pos: member.pos, value: member.value})
		}
		return devices
	case v.kind != kindBlock || len(e.labels) != 2 || e.labels[0] == "" || e.labels[1] == "":
		s.report.fail(e.pos, s.name("audit"), "expected a type and a path: "+
			"audit \"file\" \"to-file\" { options { file_path = \"/var/log/coffer/audit.log\" } }")
		return devices
	}
	path := s.name("audit") + "." + e.labels[0] + "." + e.labels[1]
	device := newScope(path, e.labels[0], e.pos, v.entries, s.report)
	d := AuditDevice{Place: Place{e.pos, path}, Type: e.labels[0], Path: e.labels[1], Options: map[string]string{}}
	decodeDevice(device, &d)
	return append(devices, d)
}

func decodeDevice(s *scope, d *AuditDevice) {
	s.str("description", &d.Description)
	s.ignore("local")
	if options := s.block("options"); options != nil {
		options.texts(d.Options)
	}
	s.finish()
}

// texts reads every key of a block as a text.
func (s *scope) texts(dst map[string]string) {
	for key := range s.entries {
		if v, ok := s.scalar(key, "a text, a number or true or false", kindString, kindNumber, kindBool); ok {
			dst[key] = v.text
		}
	}
}

// refuseInitialize says what to do in place of OpenBao's initialisation by the configuration.
func refuseInitialize(top *scope) {
	for _, e := range top.takeAll("initialize") {
		top.report.fail(e.pos, "initialize", "a server does not initialise itself: remove the stanza, run "+
			`"vault operator init" once, keep what it prints, and send the requests of the stanza with the root token`)
		return
	}
}
