#!/bin/sh
# Installs the greeter's library below $PREFIX.
set -eu
mkdir -p "$PREFIX/lib"
cp greet.sh "$PREFIX/lib/greet.sh"
