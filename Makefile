# SPDX-License-Identifier: Apache-2.0
#
# `make` alone is what a contributor runs before a commit. `make help` lists
# everything. Targets live in hack/make/*.mk, one file per concern; a comment
# after ## is a target's help, a line that begins with ##@ opens a group.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := all

ROOT := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
GO ?= go
BIN := $(ROOT)/bin
export CGO_ENABLED ?= 0
# sudo's PATH lacks where Go's own archive puts it, and a user's the tools of root.
export PATH := $(PATH):/usr/local/go/bin:/usr/sbin:/sbin

.PHONY: all
##@ Every day
all: format lint generate-check test build ## format, lint, generate-check, test, build

include $(sort $(wildcard $(ROOT)/hack/make/*.mk))

.PHONY: help
help: ## list the targets by group
	@awk -f $(ROOT)/hack/help.awk $(MAKEFILE_LIST)
