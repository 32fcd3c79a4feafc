# SPDX-License-Identifier: Apache-2.0
##@ Other kernels

VM_KERNELS  ?= 6.1 6.12
VM_PACKAGES ?= probe/kernel probe
VM_RUN      ?= .
VM_SECONDS  ?= 3600
VM_MODULES = veth,cls_bpf,sch_ingress,nf_tables,nf_conntrack,nf_conntrack_netlink,tcp_diag,udp_diag,nft_compat,nft_log?,nft_limit?,nft_ct,nft_reject_inet,xt_limit,xt_tcpudp,xt_comment,xt_mark,xt_conntrack,iptable_filter,iptable_raw,ip6table_filter,ipt_REJECT,ip6t_REJECT
VM_NAT     = veth,cls_bpf,sch_ingress,vxlan,bridge,dummy,tun,nf_tables,nfnetlink_queue,netkit?,nft_chain_nat,nft_nat,nft_masq
VM_TOOLS   = -x ip -x nft -x iptables -x ip6tables -x iptables-legacy -x ip6tables-legacy

.PHONY: vmtest
# Fewer drawn cases than elsewhere: emulated, everything takes ten times as long.
# Two processors where tests have them race for the same connection.
vmtest: ## the kernel side's tests on older kernels, in a virtual machine (slow; qemu-system-x86); parts: VM_KERNELS, VM_PACKAGES, VM_RUN
	@out=$$(mktemp -d); trap 'rm -rf "$$out"' EXIT; bad=; \
	for p in $(VM_PACKAGES); do \
		mkdir -p "$$out/$$p" && CGO_ENABLED=0 $(GO) test -c -o "$$out/$$p/vm.test" ./$$p || exit 1; \
	done; \
	for k in $(VM_KERNELS); do for p in $(VM_PACKAGES); do \
		case $$p in probe) with="-m $(VM_MODULES) $(VM_TOOLS)"; draw= ;; *) with="-C 2 -m $(VM_NAT) -x nft"; draw="-rapid.checks=20 -rapid.nofailfile" ;; esac; \
		echo "== $$k $$p"; \
		$(ROOT)/hack/vmtest.sh -k $$k -t $(VM_SECONDS) -e EBPOL_ROOT_TESTS=1 -e EBPOL_FUZZ_CASES=500 $$with \
			"$$out/$$p/vm.test" -test.v -test.run '$(VM_RUN)' $$draw || bad="$$bad; $$p on $$k"; \
	done; done; \
	[ -z "$$bad" ] || { echo "not passed$$bad"; exit 1; }
