// SPDX-License-Identifier: Apache-2.0

// Package version says which release this program is.
package version

import "runtime/debug"

// Version is set by a release's linker flags. Use [String].
var Version = ""

// String is the release, or what the Go tool chain knows of the sources:
// "v1.2.3", a pseudo-version, or "(devel)".
func String() string {
	if Version != "" {
		return Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
