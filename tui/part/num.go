// SPDX-License-Identifier: Apache-2.0

package part

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/count"
)

// CountWidth, SizeWidth, RateWidth and AgeWidth are the widest results of
// Count, Size, Rate and Age, so that columns never change their width.
const (
	CountWidth = 6
	SizeWidth  = 6
	RateWidth  = 8
	AgeWidth   = 4
)

// Count writes n in at most six cells: 0 to 99,999 in full, then 123.4k, 12.3M.
func Count(n uint64) string {
	switch {
	case n < 1000:
		return strconv.FormatUint(n, 10)
	case n < 100_000:
		return strconv.FormatUint(n/1000, 10) + "," + pad3(n%1000)
	}
	return scaled(float64(n), 1000, "kMGTPE")
}

// Of is Count before its noun, of which the singular is given: 1 policy,
// 2 policies.
func Of(n uint64, one string) string { return Count(n) + " " + count.Noun(n, one) }

// Nought is Count, with nothing in place of 0: a column of rare things stays calm.
func Nought(n uint64) string {
	if n == 0 {
		return ""
	}
	return Count(n)
}

func pad3(n uint64) string {
	s := strconv.FormatUint(n, 10)
	return "000"[:3-len(s)] + s
}

// Size writes bytes in at most six cells, in units of 1024: 512B, 1.5K, 12.0M.
func Size(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10) + "B"
	}
	return scaled(float64(n), 1024, "KMGTPE")
}

// Rate writes bytes a second in at most eight cells.
func Rate(perSecond float64) string {
	if perSecond < 0.5 || math.IsNaN(perSecond) || math.IsInf(perSecond, 0) {
		return "0B/s"
	}
	return Size(uint64(perSecond)) + "/s"
}

func scaled(v, unit float64, names string) string {
	i := -1
	for i < len(names)-1 && (v >= 999.95 || i < 0) {
		v /= unit
		i++
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + names[i:i+1]
}

// Age writes how long ago something was, in at most four cells: 0s, 9s, 50s,
// 12m, 23h, 99d. Negative ages (clocks differ between nodes) read 0s.
func Age(d time.Duration) string {
	d = max(0, d.Truncate(AgeStep(d)))
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + "h"
	}
	return strconv.Itoa(min(int(d/(24*time.Hour)), 999)) + "d"
}

// AgeStep is how long an age reads as it does now. It is coarse from ten
// seconds on: nobody counts along, and a screen on which nothing else changes
// needn't be drawn each second for a minute.
func AgeStep(d time.Duration) time.Duration {
	switch {
	case d < 10*time.Second:
		return time.Second
	case d < time.Minute:
		return 10 * time.Second
	case d < time.Hour:
		return time.Minute
	case d < 48*time.Hour:
		return time.Hour
	}
	return 24 * time.Hour
}

// Left writes a countdown: 9s, 4:05, 1:02:03. Negative reads 0s.
func Left(d time.Duration) string {
	s := int((d + time.Second/2) / time.Second)
	switch {
	case s <= 0:
		return "0s"
	case s < 60:
		return strconv.Itoa(s) + "s"
	case s < 3600:
		return strconv.Itoa(s/60) + ":" + pad2(s%60)
	}
	return strconv.Itoa(s/3600) + ":" + pad2(s/60%60) + ":" + pad2(s%60)
}

// Length writes a chosen duration the way it is typed: 10m, 1h30m, 45s.
func Length(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func pad2(n int) string {
	if n < 10 {
		return "0" + strconv.Itoa(n)
	}
	return strconv.Itoa(n)
}

// Percent writes a share of 0..1 in at most five cells: 0.3%, 12%, 100%.
func Percent(share float64) string {
	if math.IsNaN(share) || share < 0 {
		share = 0
	}
	if share > 99.99 {
		share = 99.99
	}
	if share < 0.0995 {
		return strconv.FormatFloat(share*100, 'f', 1, 64) + "%"
	}
	return strconv.Itoa(int(share*100+0.5)) + "%"
}

// Spark draws the newest values, oldest first, in width cells against their
// own maximum. Values are merged by maximum where there are more than cells.
func Spark(values []uint64, width int, steps []string) string {
	if width <= 0 {
		return ""
	}
	per := max(1, (len(values)+width-1)/width)
	if len(values) <= width {
		per = 1
	}
	cells := make([]uint64, 0, width)
	var most uint64
	for i := 0; i < len(values); i += per {
		var m uint64
		for _, v := range values[i:min(i+per, len(values))] {
			m = max(m, v)
		}
		cells = append(cells, m)
		most = max(most, m)
	}
	buf := make([]byte, 0, 3*width)
	for range width - len(cells) {
		buf = append(buf, ' ')
	}
	for _, v := range cells {
		step := 0
		if v > 0 {
			step = 1 + int(float64(v)/float64(most)*float64(len(steps)-2)+0.5)
			step = min(step, len(steps)-1)
		}
		buf = append(buf, steps[step]...)
	}
	return string(buf)
}

// Took writes how long something took, with three digits: 420ns, 870µs, 1.25ms, 3.4s.
func Took(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return strconv.FormatInt(max(0, d.Nanoseconds()), 10) + "ns"
	case d < time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + "µs"
	case d < time.Second:
		return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'g', 3, 64) + "ms"
	case d < 100*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'g', 3, 64) + "s"
	}
	return Length(d.Round(time.Second))
}
