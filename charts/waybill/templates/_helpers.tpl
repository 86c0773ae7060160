{{/* Names, labels and what every pod of the chart has in common. */}}

{{- define "waybill.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters: names with what is appended to them must be labels too. */}}
{{- define "waybill.fullname" -}}
{{- $name := include "waybill.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Cluster-wide objects carry the namespace, so that releases of two namespaces do not meet. */}}
{{- define "waybill.clusterName" -}}
waybill:{{ .Release.Namespace }}:{{ include "waybill.fullname" . }}
{{- end -}}

{{- define "waybill.selector" -}}
app.kubernetes.io/name: {{ include "waybill.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "waybill.labels" -}}
{{ include "waybill.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{- define "waybill.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}:{{ $tag }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ $tag }}
{{- end -}}
{{- end -}}

{{- define "waybill.claim" -}}
{{- .Values.persistence.existingClaim | default (printf "%s-state" (include "waybill.fullname" .)) -}}
{{- end -}}

{{/* What the restricted level of Pod Security asks of a pod. */}}
{{- define "waybill.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* What it asks of a container, and a root file system that nobody writes to. */}}
{{- define "waybill.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The pod of a hook: one verb of the program, under an account that lives as long as the hook does. */}}
{{- define "waybill.hookPod" -}}
metadata:
  labels:
    app.kubernetes.io/name: {{ include "waybill.name" .root }}
    app.kubernetes.io/instance: {{ .root.Release.Name }}-{{ .hook }}
    app.kubernetes.io/component: hook
spec:
  restartPolicy: Never
  serviceAccountName: {{ include "waybill.fullname" .root }}-{{ .hook }}
  securityContext:
    {{- include "waybill.podSecurity" .root | nindent 4 }}
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.pod.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.pod.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .hook }}
      image: {{ include "waybill.image" .root | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args:
        {{- toYaml .args | nindent 8 }}
      # What it has to say is the hook's result: kubectl shows it, and Helm when the hook fails.
      terminationMessagePolicy: FallbackToLogsOnError
      securityContext:
        {{- include "waybill.containerSecurity" .root | nindent 8 }}
      resources:
        requests: {cpu: 50m, memory: 32Mi}
        limits: {memory: 128Mi}
{{- end -}}

{{/* By this name a cluster knows who serves the group of the fleet's rows; there can be one. */}}
{{- define "waybill.apiService" -}}
v1alpha1.fleet.waybill.dev
{{- end -}}

{{/* The kinds of the group, in the places that name each. */}}
{{- define "waybill.kinds" -}}
[advertisements, clientagentconfigs, collections, distributionpoints, distributions, packages, programs, sites]
{{- end -}}
