// SPDX-License-Identifier: Apache-2.0

// Hello is a program whose image is quickly built.
package main

func main() { println("hello") }
