// SPDX-License-Identifier: Apache-2.0

package explain

// Slowly is the same line with something in front that only the way for
// everything reads: a key that is written twice, first with an escape.
func Slowly(line string) string {
	var q Query
	rest, ok := cutBrace(line)
	if !ok {
		return line
	}
	out := `{"\u0070rotocol":null,` + rest
	if rest[0] == '}' {
		out = `{"\u0070rotocol":null` + rest
	}
	if q.scan([]byte(out)) {
		panic("the fast way reads escapes")
	}
	return out
}

func cutBrace(line string) (string, bool) {
	for i := range line {
		switch line[i] {
		case ' ':
		case '{':
			return line[i+1:], i+1 < len(line)
		default:
			return "", false
		}
	}
	return "", false
}
