package sandbox

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// A Trick is what an attacker in the middle does to a session that has logged in, from some message
// of the server on.
type Trick struct {
	Name string
	play func(*turn) error
}

// A turn is one message that a trick may change.
type turn struct {
	*Client
	m   Message
	n   int // how many messages came before, since the trick began
	rng *rand.Rand
}

// Meddler plays the trick on a client, beginning with message number from that the server sends
// after the login.
func (trick Trick) Meddler(c *Client, from int, rng *rand.Rand) Meddler {
	seen := 0
	return func(m Message) error {
		if m.Ready > 0 {
			seen++
		}
		if seen <= from {
			_, err := c.Write(m.Bytes())
			return err
		}
		return trick.play(&turn{Client: c, m: m, n: seen - from - 1, rng: rng})
	}
}

// Tricks returns all tricks.
func Tricks() []Trick {
	return []Trick{
		{"a message of a gigabyte", once(func(t *turn) error { return t.flood(Header(t.m.Kind, 1<<30-16), make([]byte, 64<<10)) })},
		{"a notice of a gigabyte", once(func(t *turn) error { return t.flood(Header('N', 1<<30-16), make([]byte, 64<<10)) })},
		{"an error of 60 MiB", once(func(t *turn) error {
			body := append([]byte("SERROR\x00C42501\x00M"), bytes.Repeat([]byte("no "), 20<<20)...)
			return t.say('E', append(body, 0, 0))
		})},
		{"a negative length", once(func(t *turn) error { return t.flood(Header(t.m.Kind, -5-t.rng.Int64N(1<<30)), make([]byte, 64<<10)) })},
		{"a length without itself", once(func(t *turn) error { return t.flood(Header(t.m.Kind, -1-t.rng.Int64N(4)), make([]byte, 64<<10)) })},
		{"half a message", once(func(t *turn) error {
			whole := t.m.Bytes()
			_, _ = t.Write(whole[:t.rng.IntN(len(whole))])
			return errTrick
		})},
		{"silence", once(func(t *turn) error { <-t.Gone(); return errTrick })},
		{"a byte now and then", (*turn).drip},
		{"rows without end", once(func(t *turn) error {
			row := t.m
			if row.Kind != 'D' {
				row = Message{Kind: 'D', Body: []byte{0, 1, 0, 0, 0, 1, 'x'}}
			}
			return t.flood(nil, bytes.Repeat(row.Bytes(), 1+(64<<10)/len(row.Bytes())))
		})},
		{"the same message without end", once(func(t *turn) error { return t.flood(nil, bytes.Repeat(t.m.Bytes(), 1+(64<<10)/len(t.m.Bytes()))) })},
		{"notices without end", once(func(t *turn) error { return t.repeat('N', "SNOTICE\x00Mhello\x00\x00") })},
		{"notifications without end", once(func(t *turn) error { return t.repeat('A', "\x00\x00\x00\x01channel\x00payload\x00") })},
		{"readiness without end", once(func(t *turn) error { return t.repeat('Z', "I") })},
		{"parameters without end", once(func(t *turn) error {
			for i := 0; ; i++ {
				if err := t.say('S', fmt.Appendf(nil, "parameter%d\x00%0200d\x00", i, i)); err != nil {
					return err
				}
			}
		})},
		{"one readiness more", once(func(t *turn) error { return join(t.pass(), t.say('Z', []byte{'I'})) })},
		{"one message twice", once(func(t *turn) error { return join(t.pass(), t.pass()) })},
		{"one message less", once(func(*turn) error { return nil })},
		{"one message in another's place", once(func(t *turn) error {
			kinds := "123CDEGHIKNRSTWZcdnstvAV"
			return t.say(kinds[t.rng.IntN(len(kinds))], noise(t.rng, t.rng.IntN(60)))
		})},
		{"another state of the transaction", func(t *turn) error {
			if t.m.Kind == 'Z' {
				t.m.Body = []byte{"ITEX"[t.rng.IntN(4)]}
			}
			return t.pass()
		}},
		{"another number of rows", func(t *turn) error {
			if t.m.Kind == 'C' {
				tags := []string{"SELECT -1", "INSERT 0 99999999999999999999", "COPY", "", "DELETE \x1b[2J", "UPDATE 0 0 0"}
				t.m.Body = append([]byte(tags[t.rng.IntN(len(tags))]), 0)
			}
			return t.pass()
		}},
		{"an error with absurd fields", once(func(t *turn) error {
			body := []byte("SERROR\x00C42501\x00M\x1b[2Jgone\r\nApply complete!\x00Pnumber\x00")
			for range 50 {
				body = append(append(body, byte(1+t.rng.IntN(255))), noise(t.rng, t.rng.IntN(100))...)
			}
			return join(t.say('E', append(body, 0, 0)), t.say('Z', []byte{'E'}))
		})},
		{"copying that nobody asked for", once(func(t *turn) error {
			return join(t.say("GHW"[t.rng.IntN(3)], []byte{1, 0, 0}), t.repeat('d', "row"))
		})},
		{"other descriptions of rows", func(t *turn) error {
			if t.m.Kind == 'T' && t.rng.IntN(2) == 0 {
				t.m.Body[t.rng.IntN(len(t.m.Body))] = byte(t.rng.Uint32())
			}
			return t.pass()
		}},
		{"other values", func(t *turn) error { return t.change(10, t.changed) }},
		{"a few other values", func(t *turn) error { return t.change(100, t.changed) }},
		{"nulls", func(t *turn) error { return t.change(20, func([][]byte, int) []byte { return nil }) }},
		{"values of other columns", func(t *turn) error {
			return t.change(10, func(values [][]byte, _ int) []byte { return values[t.rng.IntN(len(values))] })
		}},
		{"other numbers", func(t *turn) error {
			return t.change(5, func(values [][]byte, i int) []byte { return t.number(values[i]) })
		}},
		{"shorter arrays", func(t *turn) error {
			return t.change(5, func(values [][]byte, i int) []byte { return shorter(values[i]) })
		}},
		{"rows with a value less", func(t *turn) error {
			if t.m.Kind == 'D' && t.rng.IntN(5) == 0 {
				values := cells(t.m.Body)
				t.m.Body = row(values[:max(len(values)-1, 0)])
			}
			return t.pass()
		}},
		{"rows less and rows twice", func(t *turn) error {
			if t.m.Kind == 'D' && t.rng.IntN(3) == 0 {
				if t.rng.IntN(2) == 0 {
					return nil
				}
				return join(t.pass(), t.pass())
			}
			return t.pass()
		}},
		{"noise", once(func(t *turn) error { return t.flood(nil, noise(t.rng, 64<<10)) })},
	}
}

// errTrick ends a connection.
var errTrick = fmt.Errorf("the trick is over")

// once plays a trick on one message, and passes on those after it.
func once(play func(*turn) error) func(*turn) error {
	return func(t *turn) error {
		if t.n > 0 {
			return t.pass()
		}
		return play(t)
	}
}

func join(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

func (t *turn) pass() error {
	_, err := t.Write(t.m.Bytes())
	return err
}

func (t *turn) say(kind byte, body []byte) error {
	_, err := t.Write(append(Header(kind, int64(len(body))), body...))
	return err
}

// flood sends a beginning, and then the rest again and again until the client hangs up.
func (t *turn) flood(beginning, rest []byte) error {
	if _, err := t.Write(beginning); err != nil {
		return err
	}
	for {
		if _, err := t.Write(rest); err != nil {
			return err
		}
	}
}

func (t *turn) repeat(kind byte, body string) error {
	m := Message{Kind: kind, Body: []byte(body)}.Bytes()
	return t.flood(nil, bytes.Repeat(m, 1+(64<<10)/len(m)))
}

// drip sends the server's messages byte by byte.
func (t *turn) drip() error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, b := range t.m.Bytes() {
		if _, err := t.Write([]byte{b}); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-t.Gone():
			return errTrick
		}
	}
	return nil
}

// change changes one in oneIn values of rows.
func (t *turn) change(oneIn int, changed func(values [][]byte, i int) []byte) error {
	if t.m.Kind != 'D' {
		return t.pass()
	}
	values := cells(t.m.Body)
	for i := range values {
		if t.rng.IntN(oneIn) == 0 {
			values[i] = changed(values, i)
		}
	}
	t.m.Body = row(values)
	return t.pass()
}

// changed returns another value of about the same type as the value at i; nil is null.
func (t *turn) changed(values [][]byte, i int) []byte {
	value := slices.Clone(values[i])
	switch kind := t.rng.IntN(8); {
	case kind == 0:
		return nil
	case kind == 1:
		return []byte{}
	case kind == 2:
		return t.number(value)
	case kind == 3:
		return shorter(value)
	case kind == 4:
		return noise(t.rng, len(value))
	case kind == 5:
		return []byte("\x1b[2J\x1b]0;gone\x07\r\nApply complete!\x00\xff")
	case len(value) > 0:
		value[t.rng.IntN(len(value))] ^= byte(1 << t.rng.IntN(8))
	}
	return value
}

// number returns another number of the same type, small or at a limit, if the value is a number.
func (t *turn) number(value []byte) []byte {
	if n := len(value); n != 1 && n != 2 && n != 4 && n != 8 {
		return value
	}
	value = bytes.Repeat([]byte{[]byte{0, 0xff}[t.rng.IntN(2)]}, len(value))
	switch t.rng.IntN(3) {
	case 0:
		value[0] ^= 0x80
	case 1:
		value[len(value)-1] ^= byte(t.rng.IntN(8))
	}
	return value
}

// shorter returns an array without its last element, if the value is an array: in the binary form,
// of one dimension.
func shorter(value []byte) []byte {
	if len(value) < 20 || binary.BigEndian.Uint32(value) != 1 {
		return value
	}
	count := binary.BigEndian.Uint32(value[12:])
	if count == 0 || int64(count) > int64(len(value)) {
		return value
	}
	end := 20
	for range count - 1 {
		if len(value) < end+4 {
			return value
		}
		if length := int32(binary.BigEndian.Uint32(value[end:])); length > 0 {
			end += int(length)
		}
		if end += 4; end > len(value) {
			return value
		}
	}
	value = slices.Clone(value[:end])
	binary.BigEndian.PutUint32(value[12:], count-1)
	return value
}

// cells reads the values of a DataRow; nil is null.
func cells(body []byte) [][]byte {
	values := make([][]byte, binary.BigEndian.Uint16(body))
	body = body[2:]
	for i := range values {
		length := int32(binary.BigEndian.Uint32(body))
		body = body[4:]
		if length >= 0 {
			values[i], body = body[:length:length], body[length:]
		}
	}
	return values
}

// row is the reverse of cells.
func row(values [][]byte) []byte {
	body := binary.BigEndian.AppendUint16(nil, uint16(len(values)))
	for _, value := range values {
		if value == nil {
			body = binary.BigEndian.AppendUint32(body, 0xffffffff)
			continue
		}
		body = append(binary.BigEndian.AppendUint32(body, uint32(len(value))), value...)
	}
	return body
}

func noise(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}
