package api

// What the parts of a JSON text cost when they are decoded, in bytes of memory: upper bounds for Go 1.26 on 64-bit
// machines, beside the bytes of the text itself, which are counted once for the text and cover its strings.
// TestMeterBoundsWhatDecodingTakes holds them against the allocator.
const (
	// costOfObject is a map with its first group of eight slots.
	costOfObject = 336
	// costOfMember is a slot of a map that grows by doubling, the header of a string in an interface, and what the
	// allocator rounds up.
	costOfMember = 128
	// costOfElement is a slot of a list that grows by doubling, and the same.
	costOfElement = 72
	// costOfField is a field of a form: a slot in two maps, a list of one, and the value unescaped and joined.
	costOfField = 256
)

// meter adds up what decoding a body will take, as the text arrives. The body need not be well-formed.
type meter struct {
	form            bool
	inText, escaped bool
}

// add returns the cost in bytes of the next part of the text, without the text itself.
func (m *meter) add(part []byte) int64 {
	if m.form {
		return m.addForm(part)
	}
	var cost int64
	for _, c := range part {
		switch {
		case m.escaped:
			m.escaped = false
		case m.inText:
			switch c {
			case '"':
				m.inText = false
			case '\\':
				m.escaped = true
			}
		default:
			switch c {
			case '"':
				m.inText = true
			case ',':
				cost += costOfElement
			case ':':
				cost += costOfMember
			case '{':
				cost += costOfObject
			case '[':
				cost += costOfElement
			}
		}
	}
	return cost
}

func (m *meter) addForm(part []byte) int64 {
	cost := 2 * int64(len(part)) // the text as a string, and the fields unescaped
	for _, c := range part {
		if c == '&' || c == '=' {
			cost += costOfField / 2
		}
	}
	return cost
}
