# SPDX-License-Identifier: Apache-2.0
##@ Other kernels

VM_KERNELS ?= 6.1 6.12
VM_MODULES = veth,cls_bpf,sch_ingress,nf_tables,nf_conntrack,nf_conntrack_netlink,tcp_diag,udp_diag,nft_compat,nft_log?,nft_limit?,nft_ct,nft_reject_inet,xt_limit,xt_tcpudp,xt_comment,xt_mark,xt_conntrack,iptable_filter,iptable_raw,ip6table_filter,ipt_REJECT,ip6t_REJECT
VM_TOOLS   = -x ip -x nft -x iptables -x ip6tables -x iptables-legacy -x ip6tables-legacy

.PHONY: vmtest
vmtest: ## the kernel side's tests on older kernels, in a virtual machine (slow; qemu-system-x86)
	@set -e; out=$$(mktemp -d); trap 'rm -rf "$$out"' EXIT; \
	CGO_ENABLED=0 $(GO) test -c -o "$$out/kernel.test" ./probe/kernel; \
	CGO_ENABLED=0 $(GO) test -c -o "$$out/probe.test" ./probe; \
	for k in $(VM_KERNELS); do \
		echo "== $$k probe/kernel"; $(ROOT)/hack/vmtest.sh -k $$k -t 3600 -e EBPOL_FUZZ_CASES=500 "$$out/kernel.test" -rapid.checks=20 -rapid.nofailfile; \
		echo "== $$k probe"; $(ROOT)/hack/vmtest.sh -k $$k -t 3600 -m $(VM_MODULES) $(VM_TOOLS) "$$out/probe.test"; \
	done
