# SPDX-License-Identifier: Apache-2.0
# Prints "target  help" lines under the group that the nearest ##@ above names.
# Groups may be continued in another file: lines are collected first.
/^##@ / { group = substr($0, 5); if (!(group in seen)) { seen[group] = ++n; name[n] = group } next }
/^[a-z0-9][a-z0-9-]*:.*## / {
    target = $0; sub(/:.*/, "", target)
    text = $0; sub(/.*## /, "", text)
    lines[seen[group]] = lines[seen[group]] sprintf("  %-18s %s\n", target, text)
}
END {
    print "usage: make [target]"
    for (i = 1; i <= n; i++) printf "\n%s\n%s", name[i], lines[i]
}
