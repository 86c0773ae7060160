run kubectl create -f program.yaml
kubectl get programs -w --output-watch-events --request-timeout=60s > watched 2>&1 &
until_line watched git
kubectl label program git a=b > /dev/null
until_line watched MODIFIED
kubectl create -f - > /dev/null <<Y
apiVersion: content.example.dev/v1
kind: Program
metadata: {name: other}
spec: {command: run}
Y
until_line watched other
kubectl delete program other > /dev/null
until_line watched DELETED
kill $!
wait
run cat watched

kubectl get program git -w -o yaml --watch-only --request-timeout=60s > watched-one 2>&1 &
for at in $(seq 300); do
  grep -q size watched-one && break
  kubectl annotate program git now="$at" --overwrite > /dev/null
  sleep 0.2
done
kill $!
wait
run sh -c 'sed "/now:/d; /---/,\$d" watched-one'
# how often it took is each side's own affair
kubectl annotate program git now- > /dev/null

kubectl get events -w --output-watch-events --request-timeout=60s > watched-events 2>&1 &
kubectl create -f - > /dev/null <<Y
apiVersion: v1
kind: Event
metadata: {name: done}
involvedObject: {apiVersion: content.example.dev/v1, kind: Program, namespace: kubectl-watch, name: git}
reason: Done
message: it is done
type: Normal
source: {component: test}
firstTimestamp: 2024-01-01T00:00:00Z
lastTimestamp: 2024-01-01T00:00:00Z
count: 3
Y
until_line watched-events 'it is done'
kill $!
wait
run sh -c 'sed "s/[0-9]*[yd][0-9]*d*/<old>/" watched-events'
run sh -c 'kubectl events --for program/git | sed "s/[0-9]*[yd][0-9]*d*/<old>/"'
run kubectl describe program git

run kubectl wait --for=condition=Ready program/git --timeout=1s
kubectl patch program git --subresource=status --type=merge -p '{"status":{"conditions":[{"type":"Ready","status":"True"}]}}' > /dev/null
run kubectl wait --for=condition=Ready program/git --timeout=20s
run kubectl wait --for=condition=Ready=False program/git --timeout=1s
run kubectl wait --for='jsonpath={.spec.size}=2' program/git --timeout=20s
run kubectl wait --for='jsonpath={.spec.size}=3' program/git --timeout=1s
run kubectl wait --for=condition=Ready programs --all --timeout=20s
run kubectl wait --for=delete program/none --timeout=5s
run kubectl wait --for=condition=Ready program/none --timeout=1s
(sleep 1; kubectl delete program git > /dev/null) &
run kubectl wait --for=delete program/git --timeout=60s
wait
(sleep 1; kubectl create -f program.yaml > /dev/null) &
run kubectl wait --for=create program/git --timeout=60s
wait
