#!/bin/sh
# Installs the greeter below $PREFIX and tries it.
set -eu
test -e "$PREFIX/lib/greet.sh" || { echo "the runtime is missing"; exit 1; }
mkdir -p "$PREFIX/bin"
cp bin/greeter "$PREFIX/bin/greeter.new"
chmod 755 "$PREFIX/bin/greeter.new"
mv "$PREFIX/bin/greeter.new" "$PREFIX/bin/greeter"
"$PREFIX/bin/greeter"
