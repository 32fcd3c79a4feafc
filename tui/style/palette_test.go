// SPDX-License-Identifier: Apache-2.0

package style

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"testing"
)

// The 16 colours as three widespread terminals show them.
var terminals = map[string][16][3]float64{
	"xterm": {
		{0, 0, 0},
		{205, 0, 0},
		{0, 205, 0},
		{205, 205, 0},
		{0, 0, 238},
		{205, 0, 205},
		{0, 205, 205},
		{229, 229, 229},
		{127, 127, 127},
		{255, 0, 0},
		{0, 255, 0},
		{255, 255, 0},
		{92, 92, 255},
		{255, 0, 255},
		{0, 255, 255},
		{255, 255, 255},
	},
	"Windows Terminal": {
		{12, 12, 12},
		{197, 15, 31},
		{19, 161, 14},
		{193, 156, 0},
		{0, 55, 218},
		{136, 23, 152},
		{58, 150, 221},
		{204, 204, 204},
		{118, 118, 118},
		{231, 72, 86},
		{22, 198, 12},
		{249, 241, 165},
		{59, 120, 255},
		{180, 0, 158},
		{97, 214, 214},
		{242, 242, 242},
	},
	"GNOME": {
		{23, 20, 33},
		{192, 28, 40},
		{38, 162, 105},
		{162, 115, 76},
		{18, 72, 139},
		{163, 71, 186},
		{42, 161, 179},
		{208, 207, 204},
		{94, 92, 100},
		{246, 97, 81},
		{51, 209, 122},
		{233, 173, 12},
		{42, 123, 222},
		{192, 97, 203},
		{51, 199, 222},
		{255, 255, 255},
	},
}

// sights are ways to see: how linear red, green and blue arrive (Machado,
// Oliveira and Fernandes 2009, severity 1).
var sights = map[string][3][3]float64{
	"all colours":  {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
	"protanopia":   {{0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}},
	"deuteranopia": {{0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}},
	"tritanopia":   {{1.255528, -0.076749, -0.178779}, {-0.078411, 0.930809, 0.147602}, {0.004733, 0.691367, 0.303900}},
}

func linear(c [3]float64) (out [3]float64) {
	for i, v := range c {
		v /= 255
		if v <= 0.04045 {
			out[i] = v / 12.92
		} else {
			out[i] = math.Pow((v+0.055)/1.055, 2.4)
		}
	}
	return out
}

func seen(c [3]float64, m [3][3]float64) (out [3]float64) {
	l := linear(c)
	for i := range out {
		out[i] = min(1, max(0, m[i][0]*l[0]+m[i][1]*l[1]+m[i][2]*l[2]))
	}
	return out
}

func luminance(l [3]float64) float64 { return 0.2126*l[0] + 0.7152*l[1] + 0.0722*l[2] }

func contrast(a, b [3]float64) float64 {
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// lab is CIE L*a*b* under daylight.
func lab(l [3]float64) [3]float64 {
	f := func(t float64) float64 {
		if t > 0.008856 {
			return math.Cbrt(t)
		}
		return 7.787*t + 16.0/116
	}
	x := f((0.4124*l[0] + 0.3576*l[1] + 0.1805*l[2]) / 0.95047)
	y := f(luminance(l))
	z := f((0.0193*l[0] + 0.1192*l[1] + 0.9505*l[2]) / 1.08883)
	return [3]float64{116*y - 16, 500 * (x - y), 200 * (y - z)}
}

func deltaE(a, b [3]float64) float64 {
	p, q := lab(a), lab(b)
	return math.Sqrt((p[0]-q[0])*(p[0]-q[0]) + (p[1]-q[1])*(p[1]-q[1]) + (p[2]-q[2])*(p[2]-q[2]))
}

var colour = regexp.MustCompile(`(?:^|[\[;])(3[0-7]|9[0-7])(?:;|m|$)`)

// of is the colour that a paint sets; the terminal's own text colour if none.
func of(p Paint, colours [16][3]float64, text [3]float64) [3]float64 {
	m := colour.FindStringSubmatch(p.on)
	if m == nil {
		return text
	}
	n, _ := strconv.Atoi(m[1])
	if n >= 90 {
		return colours[n-90+8]
	}
	return colours[n-30]
}

// TestVerdictsStayApartForEveryEye: on three terminals, dark and light, and for
// the three kinds of colour blindness, no two verdicts look alike, by their colour or a line under
// one, and each can be read. Words and symbols say the same; this is about finding them at a
// glance.
func TestVerdictsStayApartForEveryEye(t *testing.T) {
	const apart, readable = 18, 2.5
	lined := regexp.MustCompile(`[\[;]4[;m]`)
	for name, colours := range terminals {
		for _, light := range []bool{false, true} {
			th := New(Options{Light: light})
			text, ground := colours[7], colours[0]
			if light {
				text, ground = colours[0], [3]float64{255, 255, 255}
			}
			paints := map[string]Paint{"allowed": th.Allowed, "would deny": th.WouldDeny, "denied": th.Denied, "contested": th.Contested}
			for sight, m := range sights {
				where := fmt.Sprintf("%s, light %v, %s", name, light, sight)
				for a, pa := range paints {
					ca := seen(of(pa, colours, text), m)
					if c := contrast(ca, seen(ground, m)); c < readable {
						t.Errorf("%s: %q has contrast %.1f", where, a, c)
					}
					for b, pb := range paints {
						if lined.MatchString(pa.on) != lined.MatchString(pb.on) {
							continue // one has a line under it
						}
						if d := deltaE(ca, seen(of(pb, colours, text), m)); a < b && d < apart {
							t.Errorf("%s: %q and %q are %.0f apart", where, a, b, d)
						}
					}
				}
			}
		}
	}
}
