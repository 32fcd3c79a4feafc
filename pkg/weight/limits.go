// SPDX-License-Identifier: Apache-2.0

package weight

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Limit says how many policies of one profile a cluster holds.
type Limit struct {
	Profile
	Policies int // ≥ 1
}

// illustrative are the example limits that the method was published with:
// no cluster is named that has them.
const illustrative = `# local pods, selectors, single ports, port ranges, peer namespaces, peer pods, CIDRs, limit
1,0,0,0,0,0,1,100000
1,0,1,0,0,0,1,100000
1,0,0,1,0,0,1,90000
1,0,1,1,0,0,1,90000
1,1,0,0,1,3,0,80000
1,1,1,0,1,3,0,80000
1,1,0,0,10,10,0,30000
1,1,1,0,10,10,0,30000
10,0,0,0,0,0,1,50000
10,0,1,0,0,0,1,50000
10,1,0,0,10,10,1,5000
1,1,0,0,1,3,1,60000
1,0,0,0,0,0,10,20000
1,0,1,0,0,0,10,20000
1,1,1,1,1,1,0,30000
`

// Illustrative are example limits that belong to no cluster.
func Illustrative() []Limit {
	limits, err := ReadLimits(strings.NewReader(illustrative))
	if err != nil {
		panic(err) // a constant
	}
	return limits
}

// maxLimits bounds a limits file; published ones have a few dozen lines.
const maxLimits = 10_000

// ReadLimits reads comma-separated lines of eight numbers: local pods, pod
// selectors, single ports, port ranges, peer namespaces, peer pods per
// namespace, CIDRs, and the number of such policies that a cluster holds.
// Lines that begin with # are comments.
func ReadLimits(r io.Reader) ([]Limit, error) {
	data, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read limits: %w", err)
	}
	c := csv.NewReader(bytes.NewReader(data))
	c.Comment, c.TrimLeadingSpace, c.FieldsPerRecord = '#', true, 8
	records, err := c.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("limits: %w; each line has eight numbers: local pods, selectors, single ports, port ranges, peer namespaces, peer pods, CIDRs, limit", err)
	}
	if len(records) > maxLimits {
		return nil, fmt.Errorf("limits: %d lines are more than %d", len(records), maxLimits)
	}
	var out []Limit
	for i, record := range records {
		var n [8]int
		for j, s := range record {
			v, err := strconv.Atoi(strings.TrimSpace(s))
			if err != nil || v < 0 || v > 1_000_000_000 {
				return nil, fmt.Errorf("limits, line %d: %q is no number from 0 to 1000000000", i+1, s)
			}
			n[j] = v
		}
		l := Limit{Profile{n[0], n[2], n[3], n[1], n[4], n[5], n[6]}, n[7]}
		if l.LocalPods == 0 || l.Policies == 0 || (l.CIDRs == 0 && l.PodSelectors == 0) {
			return nil, fmt.Errorf("limits, line %d: local pods, the limit, and selectors or CIDRs must be at least 1", i+1)
		}
		if l.PodSelectors > 0 && l.PeerNamespaces*l.PeerPods == 0 {
			return nil, fmt.Errorf("limits, line %d: a profile with selectors needs peer namespaces and peer pods", i+1)
		}
		out = append(out, l)
	}
	if len(out) == 0 {
		return nil, errors.New("limits: the file holds none")
	}
	return out, nil
}
