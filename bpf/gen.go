// SPDX-License-Identifier: Apache-2.0

// Package bpf holds the kernel programs: their C source, the objects made of
// it, and Go types of what both sides share. [probe] loads them.
//
// The objects are committed, so that building needs no clang. `make generate`
// makes them again with the pinned compiler; `make generate-check` proves that
// they are what the source says. The same object serves amd64 and arm64: both
// are little endian, and nothing in it depends on more.
package bpf

// The directory of the build isn't in the object: paths are relative, and
// debug lines are stripped but for BTF.
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -type conn4_key -type conn6_key -type stale -type conn -type lane -type seat -type judgement -type event -type opening -type head -type icmp_error -type counts -type addr -type endpoint -type peer -type cidr4_key -type cidr6_key -type service_key -type service -type port_key -type range_key -type match_key -type match -type bitmap -type set -type event_kind -type conn_flags -type set_flags -cflags "-O2 -g -Wall -Werror -fdebug-compilation-dir=. -Ilib" Flow flow.bpf.c

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -type drop_event -type drop_key -type drop_count -type drop_losses -cflags "-O2 -g -Wall -Werror -fdebug-compilation-dir=. -Ilib" Drop drop.bpf.c

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -type who_event -type who_process -type who_kind -type who_sends -type addr -cflags "-O2 -g -Wall -Werror -fdebug-compilation-dir=. -Ilib" Who who.bpf.c

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -cflags "-O2 -g -Wall -Werror -fdebug-compilation-dir=. -Ilib" Host host.bpf.c
