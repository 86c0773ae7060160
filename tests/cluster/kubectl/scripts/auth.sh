viewer="--as=waybill:viewer --as-group=waybill:viewers"
run kubectl auth can-i create programs.content.example.dev
run kubectl auth can-i '*' '*'
run kubectl auth can-i '*' '*' --all-namespaces
run kubectl auth can-i get /metrics
run kubectl auth can-i delete sites.waybill.dev
run kubectl auth can-i patch programs.waybill.dev --subresource=status
run kubectl auth can-i get programs.content.example.dev $viewer
run kubectl auth can-i list collections.waybill.dev $viewer
run kubectl auth can-i delete programs.content.example.dev $viewer
run kubectl auth can-i get secrets $viewer
run kubectl auth can-i get secret/a $viewer
run kubectl auth can-i patch programs.waybill.dev --subresource=status $viewer
run kubectl auth can-i create programs.waybill.dev --as=jane --as-group=devs
run kubectl auth can-i get nonsense
run kubectl auth whoami
run kubectl auth whoami $viewer
run kubectl get programs $viewer
run kubectl get secrets $viewer
run kubectl get programs --as=jane
run kubectl get programs --as=jane -A
run kubectl apply -f program.yaml $viewer
run kubectl delete program git $viewer
run kubectl label program git a=b $viewer
run kubectl create -f program.yaml --as=jane
