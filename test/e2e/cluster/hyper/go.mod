// A module of its own, so that the project never links Kubernetes itself.
// build.sh copies main.go and netpol/ beside the go.mod that it makes from the
// kubernetes module's.
module hyper

go 1.26
