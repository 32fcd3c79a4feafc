// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Dial opens a socket to netfilter; nil stands for the kernel's own.
type Dial func(*netlink.Config) (*netlink.Conn, error)

// ErrNone is what a kernel without nftables, or one that keeps it from us, is
// reported by.
var ErrNone = errors.New("this kernel has no nftables, or we may not use it")

// Supported says why rules can't be traced in the namespace at the path; nil:
// they can.
func Supported(path string, dial Dial) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer file.Close()
	if dial == nil {
		dial = func(config *netlink.Config) (*netlink.Conn, error) {
			return netlink.Dial(unix.NETLINK_NETFILTER, config)
		}
	}
	c, err := dial(&netlink.Config{NetNS: int(file.Fd())})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNone, err)
	}
	defer c.Close()
	_, err = c.Execute(netlink.Message{Header: netlink.Header{Type: kind(unix.NFT_MSG_GETGEN), Flags: netlink.Request}, Data: header(0, 0)})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNone, err)
	}
	return nil
}

// Sweep removes tables of ours from the namespace at the path whose makers are
// gone, as stale says.
func Sweep(path string, stale func(name string) bool) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer file.Close()
	c, err := nftables.New(nftables.WithNetNSFd(int(file.Fd())), nftables.AsLasting())
	if err != nil {
		return fmt.Errorf("speak with nftables: %w", err)
	}
	return errors.Join(sweep(c, stale), c.CloseLasting())
}

func sweep(c *nftables.Conn, stale func(string) bool) error {
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return fmt.Errorf("look for tables that a probe left: %w", err)
	}
	for _, old := range tables {
		if name, ours := strings.CutPrefix(old.Name, TablePrefix); ours && stale(name) {
			c.DelTable(old)
			if err := c.Flush(); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("remove table %q, which a probe left: %w", old.Name, err)
			}
		}
	}
	return nil
}
