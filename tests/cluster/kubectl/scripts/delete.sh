# owner NAME, with a child NAME-kid that waits for nothing and one that bears the finalizer $2
owned() {
  kubectl create -f - <<Y
apiVersion: content.example.dev/v1
kind: Program
metadata: {name: $1}
spec: {command: run}
Y
  uid=$(kubectl get program "$1" -o 'jsonpath={.metadata.uid}')
  kubectl create -f - <<Y
apiVersion: content.example.dev/v1
kind: Program
metadata:
  name: $1-kid
  ownerReferences: [{apiVersion: content.example.dev/v1, kind: Program, name: $1, uid: $uid, blockOwnerDeletion: true}]
spec: {command: run}
Y
}
# waits for the end of a program; what that prints hangs on whether it is over already
gone() { kubectl wait --for=delete "program/$1" --timeout=60s > /dev/null; run kubectl get program "$1"; }
run kubectl create -f program.yaml
run kubectl delete program git --dry-run=server
run kubectl delete program git --dry-run=client
run kubectl delete program git
run kubectl delete program git
run kubectl delete program git --ignore-not-found
run kubectl delete -f program.yaml
run owned background
run kubectl delete program background
gone background-kid
run owned background-asked
run kubectl delete program background-asked --cascade=background
gone background-asked-kid
run owned foreground
run kubectl delete program foreground --cascade=foreground
run kubectl get program foreground-kid
run owned orphan
run kubectl delete program orphan --cascade=orphan
run kubectl get program orphan-kid -o yaml
run owned blocked
kubectl patch program blocked-kid --type=merge -p '{"metadata":{"finalizers":["example.dev/x"]}}' > /dev/null
run kubectl delete program blocked --cascade=foreground --wait=false
run kubectl wait --for='jsonpath={.metadata.deletionTimestamp}' program/blocked-kid --timeout=60s
run kubectl get program blocked -o 'jsonpath={.metadata.finalizers}'
run kubectl patch program blocked-kid --type=merge -p '{"metadata":{"finalizers":null}}'
gone blocked
run kubectl delete program orphan-kid --cascade=sideways
run kubectl delete program orphan-kid --grace-period=0
run kubectl delete program orphan-kid --now
run kubectl apply -f fleet.yaml
run kubectl delete packages.waybill.dev --all
run kubectl delete programs.waybill.dev,distributions -l none=such
run kubectl delete programs.waybill.dev,distributions --all
run kubectl delete -f fleet.yaml --ignore-not-found
run kubectl delete -f fleet.yaml
kubectl create -f program.yaml > /dev/null
kubectl patch program git --type=merge -p '{"metadata":{"finalizers":["example.dev/x"]}}' > /dev/null
run kubectl delete program git --wait=false
run kubectl delete program git --timeout=1s
run kubectl get program git
run kubectl label program git still=here
run kubectl patch program git --type=merge -p '{"metadata":{"finalizers":["example.dev/y"]}}'
run kubectl patch program git --type=json -p '[{"op":"remove","path":"/metadata/finalizers"}]'
run kubectl get program git
run kubectl create namespace kubectl-delete-more
run kubectl create -n kubectl-delete-more -f program.yaml
run kubectl delete namespace kubectl-delete-more
run kubectl get namespace kubectl-delete-more
run kubectl delete namespace default
