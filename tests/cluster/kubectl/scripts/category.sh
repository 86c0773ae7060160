sorted kubectl get waybill
run kubectl apply -f fleet.yaml
run kubectl apply -f cluster-wide.yaml
sorted kubectl get waybill
sorted kubectl get waybill -o wide
sorted kubectl get waybill -o name
sorted kubectl get waybill -A --show-labels
sorted kubectl get waybill -l team=tools
sorted kubectl get waybill --field-selector metadata.name=hello
sorted kubectl get waybill --field-selector spec.suspend=false
sorted kubectl api-resources --categories=waybill --namespaced=false -o name
sorted kubectl label waybill --all team=tools
sorted kubectl get waybill -l team=tools -o name
sorted kubectl delete waybill --all
sorted kubectl get waybill
