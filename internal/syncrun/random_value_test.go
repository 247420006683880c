package syncrun

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// runes are characters that tools often mishandle.
var runes = []rune(`abcXYZ019_ ."'$%?;:\-(){},<>&é` + "ßǅ日😀\u0301\u202e\uffff\t\n\r\x01\x7f")

// textOf draws texts of up to n characters.
func textOf(n int) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		if r.IntN(10) == 0 {
			return oneOf("", " ", "N", `\`, "'")(r)
		}
		var b strings.Builder
		for range r.IntN(n + 1) {
			b.WriteRune(runes[r.IntN(len(runes))])
		}
		return b.String()
	}
}

// drawName returns a name that PostgreSQL and the product allow.
func drawName(r *rand.Rand) string {
	if r.IntN(4) == 0 {
		return oneOf("id", "order", "select", "Größe", "a.b", `"`, "''", "s", "d", "image", "n", "c0", "excluded", "pg_temp", "?", "%s")(r)
	}
	size := 1 + r.IntN(30)
	if r.IntN(5) == 0 {
		size = pgclient.MaxNameBytes
	}
	name := ""
	for {
		c := string(runes[r.IntN(len(runes))])
		if len(name)+len(c) > size {
			break
		}
		name += c
	}
	if name == "" {
		return "x"
	}
	return name
}

func oneOf(values ...string) func(*rand.Rand) string {
	return func(r *rand.Rand) string { return values[r.IntN(len(values))] }
}

// or draws a value of the first kind, or sometimes one of the others.
func or(value func(*rand.Rand) string, others ...string) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		if r.IntN(5) == 0 {
			return oneOf(others...)(r)
		}
		return value(r)
	}
}

func integer(bits int) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		n := int64(r.Uint64()) >> (64 - bits) // all numbers of that many bits, sign included
		return strconv.FormatInt(n>>r.IntN(bits), 10)
	}
}

func digits(r *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		b.WriteByte('0' + byte(r.IntN(10)))
	}
	return b.String()
}

func number(r *rand.Rand) string {
	switch r.IntN(8) {
	case 0:
		return oneOf("NaN", "0", "0.000", "-0.00", "1e-300", "1e300")(r)
	case 1:
		return "-" + digits(r, 1+r.IntN(700)) + "." + digits(r, 1+r.IntN(500))
	}
	return digits(r, 1+r.IntN(20)) + "." + digits(r, r.IntN(20))
}

// decimal draws numbers with up to that many digits on both sides of the point.
func decimal(before, after int) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		if r.IntN(10) == 0 {
			return "NaN"
		}
		return oneOf("", "-")(r) + "0" + digits(r, r.IntN(before+1)) + "." + digits(r, r.IntN(after+1))
	}
}

func double(r *rand.Rand) string { return floating(r, math.Float64frombits(r.Uint64()), 64) }

func single(r *rand.Rand) string {
	return floating(r, float64(math.Float32frombits(r.Uint32())), 32)
}

func floating(r *rand.Rand, value float64, bits int) string {
	smallest := 1e-37
	if bits == 64 {
		smallest = 1e-300
	}
	if r.IntN(4) == 0 || math.Abs(value) < smallest || math.IsNaN(value) || math.IsInf(value, 0) {
		return oneOf("NaN", "Infinity", "-Infinity", "-0", "0.1", "1", "0.3")(r)
	}
	return strconv.FormatFloat(value, 'g', -1, bits)
}

func hexBytes(r *rand.Rand) string {
	bytes := make([]byte, r.IntN(60))
	for i := range bytes {
		bytes[i] = byte(r.Uint32())
	}
	return `\x` + hex.EncodeToString(bytes)
}

func uuidOf(r *rand.Rand) string { return fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()) }

// moment draws times between the years 1 and 9999.
func moment(layout string) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		return time.Unix(r.Int64N(300e9)-60e9, r.Int64N(1e9)).UTC().Format(layout)
	}
}

func interval(r *rand.Rand) string {
	return fmt.Sprintf("%d months %d days %d hours 59.%06d seconds", r.IntN(2000)-1000, r.IntN(2000)-1000, r.IntN(2e6)-1e6, r.IntN(1e6))
}

func bits(n int) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		return strconv.FormatUint(r.Uint64()|1<<63, 2)[:r.IntN(n+1)]
	}
}

// span draws ranges.
func span(bound func(*rand.Rand) string) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		b := bound(r)
		if b == "NaN" || strings.HasPrefix(b, "0000") {
			return "empty"
		}
		return oneOf("empty", "(,)", "["+b+",)", "(,"+b+"]", "["+b+","+b+"]")(r)
	}
}

func mood(r *rand.Rand) string {
	return oneOf("ok", "it's", "two words", "", `"q"`, "ärger", "{a,b}", `\`)(r)
}

func pair(r *rand.Rand) string {
	return "(" + oneOf("", integer(32)(r))(r) + "," + quoteElement(textOf(20)(r)) + "," + quoteElement(arrayOf(number, ",")(r)) + ")"
}

func jsonText(depth int) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		if depth > 0 && r.IntN(2) == 0 {
			inner := jsonText(depth - 1)
			if r.IntN(2) == 0 {
				return "[" + inner(r) + ", " + inner(r) + "]"
			}
			return "{" + jsonString(r) + ":  " + inner(r) + ", " + jsonString(r) + ": " + inner(r) + "}"
		}
		if r.IntN(2) == 0 {
			return jsonString(r)
		}
		return oneOf("null", "true", "1.0", "-1e5", "12345678901234567890.5", "{}", "[]")(r)
	}
}

func jsonString(r *rand.Rand) string {
	quoted, err := json.Marshal(textOf(10)(r))
	if err != nil {
		panic(err) // a string cannot fail
	}
	return string(quoted)
}

// arrayOf draws arrays, with nulls, with other lower bounds, and of two dimensions.
func arrayOf(element func(*rand.Rand) string, delimiter string) func(*rand.Rand) string {
	one := func(r *rand.Rand) string {
		if r.IntN(6) == 0 {
			return "NULL"
		}
		return quoteElement(element(r))
	}
	return func(r *rand.Rand) string {
		switch r.IntN(6) {
		case 0:
			return "{}"
		case 1:
			return "[-1:0]={" + one(r) + delimiter + one(r) + "}"
		case 2:
			return "{{" + one(r) + delimiter + one(r) + "}" + delimiter + "{" + one(r) + delimiter + one(r) + "}}"
		}
		return "{" + strings.TrimSuffix(strings.Repeat(one(r)+delimiter, 1+r.IntN(3)), delimiter) + "}"
	}
}

func quoteElement(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
}

// quoted writes a text as a literal of a server whose settings are the default.
func quoted(value string) string {
	return "'" + strings.ReplaceAll(value, "'", "''") + "'"
}

func decimalCounter(n int) string { return strconv.Itoa(n) }

// later returns times that are that many seconds apart.
func later(layout string, seconds int64) func(int) string {
	return func(n int) string { return time.Unix(1767225600+int64(n)*seconds, 0).UTC().Format(layout) }
}
