edit() { printf '#!/bin/sh\nsed -i "%s" "$1"\n' "$1" > editor; chmod +x editor; EDITOR=./editor; export EDITOR; }
run kubectl create -f program.yaml
edit 's/size: 2/size: 8/'
run kubectl edit program git
run kubectl get program git -o 'jsonpath={.spec.size}'
edit 's/nothing/at all/'
run kubectl edit program git
edit 's/command: install/command: 1x/'
run kubectl edit program git
edit 's/size: 8/sighs: 8/'
run kubectl edit program git
run kubectl edit program none
run kubectl patch program git --type=merge -p '{"spec":{"size":6}}'
run kubectl patch program git --type=merge -p '{"spec":{"size":6}}'
run kubectl patch program git --type=json -p '[{"op":"replace","path":"/spec/size","value":7}]'
run kubectl patch program git --type=json -p '[{"op":"test","path":"/spec/size","value":1}]'
run kubectl patch program git -p '{"spec":{"size":6}}'
run kubectl patch program git --type=merge -p '{"spec":{"priority":1000}}'
run kubectl patch program git --type=merge -p '{"spec":{"command":null}}'
run kubectl patch program git --type=merge -p '{"spec":'
run kubectl patch program none --type=merge -p '{}'
run kubectl patch program git --subresource=status --type=merge -p '{"status":{"phase":"Ready"}}'
run kubectl label program git a=b team-
run kubectl label program git a=c
run kubectl label program git a=c --overwrite
run kubectl label program git 'a=b c'
run kubectl label program git --list
run kubectl label programs --all x=y
run kubectl annotate program git note='some words'
run kubectl annotate program git note=other
run kubectl annotate program git note-
run kubectl annotate programs -l x=y n=1 --resource-version=1
run kubectl get program git -o yaml
kubectl get program git -o json > got.json
sed -i 's/"size": 7/"size": 9/' got.json
run kubectl replace -f got.json
run kubectl replace -f got.json
run kubectl replace --force -f program.yaml
run kubectl create configmap c --from-literal=a=b
edit 's/a: b/a: c/'
run kubectl edit configmap c
run kubectl patch configmap c -p '{"data":{"d":"e"}}'
run kubectl patch configmap c -p '{"data":{"d":5}}'
run kubectl get configmap c -o yaml
run kubectl create secret generic s --from-literal=a=b
run kubectl create secret generic s --from-literal=a=b
run kubectl create -f program.yaml
run kubectl create namespace kubectl-edit
run kubectl set env program/git A=b
run kubectl scale program git --replicas=-1
