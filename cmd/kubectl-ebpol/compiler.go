// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/ebpol/kubectl-ebpol/pkg/session"

// newCompiler makes what turns policies into numbers.
var newCompiler = session.PolicyCompiler
