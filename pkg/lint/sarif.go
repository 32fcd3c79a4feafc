// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
)

// WriteSARIF writes the findings as SARIF 2.1.0, for code scanning. Findings
// of policies that are of no file have a logical location only.
func WriteSARIF(w io.Writer, findings []Finding, version string) error {
	run := sarif.NewRunWithInformationURI("kubectl-ebpol", "https://github.com/ebpol/kubectl-ebpol")
	run.Tool.Driver.WithVersion(version)
	for _, c := range Checks {
		rule := run.AddRule(c.ID).WithShortDescription(sarif.NewMultiformatMessageString().WithText(c.About))
		rule.WithDefaultConfiguration(sarif.NewReportingConfiguration().WithLevel(c.Severity.String()))
	}
	for i := range findings {
		f := &findings[i]
		text := f.Reason + ". Fix: " + f.Fix
		if f.Patch != "" {
			text += "\n" + f.Patch
		}
		location := sarif.NewLocation().AddLogicalLocation(sarif.NewLogicalLocation().WithFullyQualifiedName(strings.Trim(string(f.Kind)+"/"+f.Policy, "/")))
		if f.File != "" {
			physical := sarif.NewPhysicalLocation().WithArtifactLocation(sarif.NewSimpleArtifactLocation(uri(f.File)))
			if f.Line > 0 {
				physical.WithRegion(sarif.NewSimpleRegion(f.Line, f.Line))
			}
			location.WithPhysicalLocation(physical)
		}
		run.CreateResultForRule(f.ID).WithLevel(f.Severity.String()).WithMessage(sarif.NewTextMessage(text)).AddLocation(location)
	}
	report := sarif.NewReport()
	report.AddRun(run)
	return report.PrettyWrite(w)
}

// uri is a file as SARIF names it: escaped, and absolute only if it was.
func uri(file string) string {
	if strings.Contains(file, "://") {
		return file // read from there
	}
	file = filepath.ToSlash(file)
	u := url.URL{Path: file}
	if filepath.IsAbs(file) {
		u.Scheme = "file"
	}
	return u.String()
}
