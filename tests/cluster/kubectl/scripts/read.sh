run kubectl apply -f program.yaml
run kubectl apply -f fleet.yaml
run kubectl get programs
run kubectl get prog,pkg
run kubectl get fleet
run kubectl get wpkg,coll,adv
run kubectl get programs -o wide
run kubectl get programs.waybill.dev -o wide
run kubectl get programs --show-labels
run kubectl get programs -L team
run kubectl get programs -l team=tools -o name
run kubectl get programs -l 'team in (a,b)'
run kubectl get programs -l 'team in (a'
run kubectl get programs --field-selector metadata.name=git -o name
run kubectl get programs --field-selector spec.mode=Once -o name
run kubectl get programs --field-selector spec.command=x
run kubectl get advertisements --field-selector spec.program=hello
run kubectl get programs.waybill.dev --field-selector spec.packageRef=hello,spec.disabled=false -o name
run kubectl get distributions --field-selector spec.package!=hello
run kubectl get collections --field-selector spec.query=true
run kubectl get programs git none
run kubectl get program none
run kubectl get nonsense
run kubectl get programs -n none
run kubectl get programs -A --field-selector metadata.namespace=kubectl-read
run kubectl get programs -o custom-columns=NAME:.metadata.name,SIZE:.spec.size
run kubectl get programs --sort-by=.spec.size
run kubectl get program git -o json
run kubectl get programs -o 'jsonpath={.items[*].metadata.name}'
run kubectl get programs -o 'go-template={{range .items}}{{.metadata.name}} {{end}}'
run kubectl get programs --chunk-size=1
run kubectl get --raw /apis/content.example.dev/v1/namespaces/kubectl-read/programs/none
run kubectl get cm,secrets,leases
run kubectl get ns kubectl-read
run kubectl get crd programs.content.example.dev programs.waybill.dev -o name
run kubectl describe program git
run kubectl describe advertisement hello
run kubectl describe program.waybill.dev hello
run kubectl describe program none
run kubectl describe ns kubectl-read-none
run kubectl api-resources --api-group=waybill.dev
run kubectl api-resources --api-group=content.example.dev
run kubectl api-resources --api-group=coordination.k8s.io
for kind in packages programs distributions collections advertisements sites distributionpoints clientagentconfigs; do
  run kubectl explain $kind.waybill.dev
  run kubectl explain $kind.waybill.dev --recursive
  run kubectl explain $kind.waybill.dev.spec
  run kubectl explain $kind.waybill.dev.status.conditions
done
for kind in programs packages sites; do
  run kubectl explain $kind.content.example.dev
  run kubectl explain $kind.content.example.dev --recursive
done
run kubectl explain programs.content.example.dev.spec.steps
run kubectl explain programs.waybill.dev.spec.env.name
run kubectl explain programs.waybill.dev.spec.nonsense
run kubectl explain programs.waybill.dev.metadata.labels
for kind in configmap secret namespace event lease; do
  run kubectl explain $kind
done
run kubectl explain events.events.k8s.io
run kubectl explain lease.spec
run kubectl explain event.involvedObject
run kubectl explain secret --recursive
run kubectl explain configmap.data
run kubectl explain namespace.status.conditions
