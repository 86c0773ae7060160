# The commands of this project, one line each; .ci/run calls all of them and more.
.PHONY: test root-test cluster-test cluster-api-test cluster-node-test fmt lint docs bench image image-reproduce

# The whole suite: no cluster, no root, no other set-up.
test:
	cargo test --locked

# What only root can show: runAs, allowRoot, cgroups. Builds as you, runs as root.
root-test:
	@if [ "$$(id -u)" = 0 ]; then \
		WAYBILL_REQUIRE=root cargo test --locked --test root; \
	elif sudo -n true 2>/dev/null; then \
		echo "not root: the test binary is run by sudo"; \
		WAYBILL_REQUIRE=root cargo test --locked --test root \
			--config 'target."cfg(unix)".runner = ["sudo", "-n", "--preserve-env=WAYBILL_REQUIRE,PATH"]'; \
	else \
		echo "root-test needs root, or sudo without a password (sudo -n); nothing was run" >&2; exit 1; \
	fi

# Against the real Kubernetes, on both levels: etcd and kube-apiserver alone, and a whole node that runs the image. Builds the
# pinned tools that are missing (some minutes, once). ARGS narrows it down: make cluster-api-test ARGS=differential
cluster-test: cluster-api-test cluster-node-test

# As you. The tools may be those of KUBEBUILDER_ASSETS, if their versions are the pinned ones.
API_TOOLS := etcd kube-apiserver kube-controller-manager kubectl helm
cluster-api-test:
	@path=$$(tests/cluster/tools/path $(API_TOOLS)) && \
		PATH="$$path:$$PATH" WAYBILL_REQUIRE=cluster,etcd,kube-apiserver,kube-controller-manager,kubectl,helm,git \
		cargo test --locked --test cluster $(ARGS) -- --skip node::

# As root: containers, and networks of their own. Of the machine it needs runc, containernetworking-plugins, iptables, iproute2.
# ARGS is the path of a test below node::, as install::life
NODE_TOOLS := $(API_TOOLS) kube-scheduler kube-proxy kubelet containerd containerd-shim-runc-v2 ctr
cluster-node-test: image
	@path=$$(tests/cluster/tools/path $(NODE_TOOLS)) && export PATH="$$path:/usr/sbin:/sbin:$$PATH" WAYBILL_REQUIRE=node && \
	if [ "$$(id -u)" = 0 ]; then \
		cargo test --locked --test cluster node::$(ARGS) -- --test-threads=1; \
	elif sudo -n true 2>/dev/null; then \
		echo "not root: the test binary is run by sudo"; \
		cargo test --locked --test cluster node::$(ARGS) \
			--config 'target."cfg(unix)".runner = ["sudo", "-n", "--preserve-env=WAYBILL_REQUIRE,PATH"]' -- --test-threads=1; \
	else \
		echo "the node level needs root, or sudo without a password (sudo -n); it was not run" >&2; exit 1; \
	fi

# The container image as an OCI layout in a tar: static program, nothing else. docs/image.md says what to do with it.
image:
	@program=$$(image/build) && image/pack "$$program" target/image/waybill.tar && \
		echo "target/image/waybill.tar: $$(du -m --apparent-size target/image/waybill.tar | cut -f1) MiB"

# Builds the image from two copies of the committed tree in two places: the digests must be the same.
image-reproduce:
	image/reproduce

fmt:
	cargo fmt

lint:
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	cargo clippy --all-targets --locked --no-default-features -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

# Every workload of bench/, shortened; bench/README.md says how to read the figures.
bench:
	bench/run --list | while read -r workload; do bench/run "$$workload" --quick || exit 1; done
