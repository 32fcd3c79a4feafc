// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/ebpol/kubectl-ebpol/pkg/deploy"

// role is what an error prints when the right to put a probe is missing.
func role(string) (string, error) {
	return "```yaml\n" + deploy.Role(deploy.DefaultNamespace, "") + "```\n", nil
}
