package engines

// SkipJSON splits compact, valid JSON after its first value, without making anything of it. Of "1,2" it returns "1" and
// ",2". Of text that is cut off it returns all.
func SkipJSON(text []byte) (value, rest []byte) {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += EndOfString(text[i:]) - 1
		case '{', '[':
			depth++
			continue
		case '}', ']':
			if depth--; depth < 0 {
				return text[:i], text[i:]
			}
		case ',', ':':
			if depth == 0 {
				return text[:i], text[i:]
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			return text[:i+1], text[i+1:]
		}
	}
	return text, nil
}

// EndOfString returns the length of the JSON string that text begins with, quotes included; that of the whole text when
// the string does not end in it.
func EndOfString(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// JSONMembers calls visit with each member of a compact, valid JSON object, in order: the name as it is written, with
// quotes, and the value. It ends when visit returns false. Of anything else there are no members.
func JSONMembers(object []byte, visit func(name, value []byte) bool) {
	for rest := object; len(rest) > 1 && (rest[0] == '{' || rest[0] == ',') && rest[1] == '"'; {
		end := 1 + EndOfString(rest[1:])
		name := rest[1:end]
		if end >= len(rest) || rest[end] != ':' {
			return
		}
		var value []byte
		if value, rest = SkipJSON(rest[end+1:]); !visit(name, value) {
			return
		}
	}
}
