# The first process of the node's namespaces (network, mounts, processes): lays the network, then waits and collects orphans. When
# it ends, the kernel ends everything else in them, and mounts and interfaces go too. $1: the node's directory.
set -eu
# What programs write to fixed places of the machine goes into memory, and away with the namespace.
for place in /run /var/log /var/lib; do mount -t tmpfs -o mode=755 tmpfs "$place"; done
mkdir /run/netns

# The node's own address: a pair with both ends here, for kernels without dummy devices.
ip link set lo up
ip link add node type veth peer name far
ip address add 10.77.0.1/24 dev node
ip link set node up
ip link set far up
ip route add default dev node

# The agents' side: another network namespace, which reaches the cluster's addresses by this node alone.
ip netns add agents
ip link add agents type veth peer name site netns agents
ip address add 10.80.0.1/24 dev agents
ip link set agents up
ip -n agents link set lo up
ip -n agents address add 10.80.0.2/24 dev site
ip -n agents link set site up
ip -n agents route add default via 10.80.0.1
echo 1 >/proc/sys/net/ipv4/ip_forward

: >"$1/network"
# `wait` also collects whoever was left to us.
while :; do
  sleep 3600 &
  wait $!
done
