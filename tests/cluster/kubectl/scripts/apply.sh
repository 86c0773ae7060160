run kubectl apply -f program.yaml
run kubectl apply -f program.yaml
run kubectl apply -f program.yaml --dry-run=server
run kubectl diff -f changed.yaml
run kubectl apply -f changed.yaml --dry-run=server
run kubectl apply -f changed.yaml --dry-run=client
run kubectl apply -f changed.yaml
run kubectl diff -f changed.yaml
run kubectl get program git -o yaml
run kubectl apply view-last-applied program git
run kubectl apply -f wrong.yaml
run kubectl apply -f wrong.yaml --validate=warn
run kubectl apply -f wrong.yaml --validate=ignore
run kubectl apply -f invalid.yaml
run kubectl apply --server-side -f changed.yaml
run kubectl apply --server-side -f program.yaml
run kubectl get program git -o yaml --show-managed-fields
run kubectl apply --server-side --field-manager=other -f changed.yaml
run kubectl apply --server-side --field-manager=other --force-conflicts -f changed.yaml
run kubectl diff --server-side -f program.yaml
run kubectl diff --server-side --field-manager=other -f program.yaml
run kubectl apply --server-side -f wrong.yaml
run kubectl apply --server-side -f invalid.yaml
run kubectl apply -f fleet.yaml
run kubectl apply -f fleet.yaml
run kubectl diff -f fleet-changed.yaml
run kubectl apply -f fleet-changed.yaml
run kubectl apply --server-side -f fleet.yaml
run kubectl get packages.waybill.dev,programs.waybill.dev,distributions,collections,advertisements -o yaml
run kubectl create -f fleet.yaml
run kubectl replace -f fleet.yaml
run kubectl kustomize overlay
run kubectl apply -k overlay
run kubectl diff -k overlay
sed -i s/red/blue/ base/kustomization.yaml
run kubectl apply -k overlay
run kubectl get cm -l stage=test
run kubectl delete -k overlay

export KUBECTL_APPLYSET=true
run kubectl apply --server-side --prune --applyset=set -f program.yaml -f fleet.yaml --force-conflicts
run kubectl get secret set -o yaml
run kubectl apply --server-side --prune --applyset=set -f program.yaml
run kubectl apply --server-side --prune --applyset=set -f changed.yaml
run kubectl get programs.content.example.dev,programs.waybill.dev,packages.waybill.dev
run kubectl apply --prune --applyset=configmaps/none -f program.yaml
run kubectl apply --prune -l team=tools -f program.yaml --prune-allowlist=content.example.dev/v1/Program
