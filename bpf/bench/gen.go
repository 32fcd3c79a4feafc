// SPDX-License-Identifier: Apache-2.0

// Package bench is the flow programs with what measuring them needs; only
// benchmarks load it.
package bench

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -cflags "-O2 -g -Wall -Werror -fdebug-compilation-dir=. -I../lib -I.." Bench bench.bpf.c
