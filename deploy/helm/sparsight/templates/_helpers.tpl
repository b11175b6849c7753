{{- define "sparsight.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "sparsight.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "sparsight.name" .) .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name (include "sparsight.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "sparsight.selector" -}}
app.kubernetes.io/name: {{ include "sparsight.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sparsight.labels" -}}
{{ include "sparsight.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "sparsight.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "sparsight.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* An image by its digest, or by its tag: [image, tag if it names none]. */ -}}
{{- define "sparsight.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}
{{- else }}{{ $image.repository }}:{{ default (index . 1) $image.tag }}
{{- end }}
{{- end }}

{{- define "sparsight.withTriton" -}}
{{- if ne .Values.layout "alone" }}yes{{ end }}
{{- end }}

{{- /* Triton's ports. HTTP is not 8000, because a pod has one set of ports and the gateway has 8000. */ -}}
{{- define "sparsight.tritonPorts" -}}
{"grpc": 8001, "metrics": 8002, "http": 8010}
{{- end }}

{{- /* The gateway's settings as JSON: what follows from other values, overridden by gateway.settings. */ -}}
{{- define "sparsight.settings" -}}
{{- $s := dict "backends" (list "openvino") -}}
{{- if include "sparsight.withTriton" . }}
  {{- $host := ternary "127.0.0.1" (printf "%s-triton" (include "sparsight.fullname" .)) (eq .Values.layout "together") }}
  {{- $triton := dict "url" (printf "%s:8001" $host) "target" (ternary "tensorrt" "openvino" .Values.gpu.enabled) }}
  {{- if and (eq .Values.layout "together") .Values.triton.sharedMemory }}{{ $_ := set $triton "shared_memory" true }}{{ end }}
  {{- $_ := set $s "triton" $triton }}
  {{- $_ := set $s "backends" (list "triton" "openvino") }}
{{- end }}
{{- with .Values.gateway.access }}{{- if .secret }}
  {{- $access := dict }}
  {{- if .keysFile }}{{ $_ := set $access "keys_file" (printf "/etc/sparsight/access/%s" .keysFile) }}{{ end }}
  {{- if .jwksFile }}{{ $_ := set $access "jwks_file" (printf "/etc/sparsight/access/%s" .jwksFile) }}{{ end }}
  {{- $_ := set $s "access" $access }}
{{- end }}{{ end }}
{{- with .Values.gateway.tls }}{{- if .secret }}
  {{- $tls := dict "cert" "/etc/sparsight/tls/tls.crt" "key" "/etc/sparsight/tls/tls.key" }}
  {{- if .clientCa }}{{ $_ := set $tls "client_ca" "/etc/sparsight/tls/ca.crt" }}{{ end }}
  {{- $_ := set $s "tls" $tls }}
{{- end }}{{ end }}
{{- if .Values.gateway.settings.admin_port }}{{ $_ := set $s "admin_host" "0.0.0.0" }}{{ end }}
{{- mergeOverwrite $s (deepCopy .Values.gateway.settings) | toJson }}
{{- end }}

{{- /* The value of a setting as the service reads it. toJson writes large numbers without an exponent. */ -}}
{{- define "sparsight.settingValue" -}}
{{- if kindIs "slice" . }}{{ join "," . }}
{{- else if kindIs "string" . }}{{ . }}
{{- else }}{{ toJson . }}
{{- end }}
{{- end }}

{{- define "sparsight.env" -}}
{{- range $name, $value := include "sparsight.settings" . | fromJson }}
{{- if kindIs "map" $value }}
{{- range $inner, $v := $value }}
- name: SPARSIGHT_{{ upper $name }}__{{ upper $inner }}
  value: {{ include "sparsight.settingValue" $v | quote }}
{{- end }}
{{- else if not (kindIs "invalid" $value) }}
- name: SPARSIGHT_{{ upper $name }}
  value: {{ include "sparsight.settingValue" $value | quote }}
{{- end }}
{{- end }}
{{- with .Values.gateway.adminToken }}{{- if .secret }}
- name: SPARSIGHT_ADMIN_TOKEN
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}}
{{- end }}{{ end }}
{{- with .Values.gateway.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The name of the port for probes and metrics, and its scheme. */ -}}
{{- define "sparsight.probePort" -}}
{{- ternary "admin" "http" (not (empty .Values.gateway.settings.admin_port)) }}
{{- end }}
{{- define "sparsight.probeScheme" -}}
{{- ternary "HTTPS" "HTTP" (not (empty .Values.gateway.tls.secret)) }}
{{- end }}
{{- define "sparsight.httpGet" -}}
httpGet: {path: {{ index . 1 }}, port: {{ include "sparsight.probePort" (index . 0) }}, scheme: {{ include "sparsight.probeScheme" (index . 0) }}}
{{- end }}

{{- define "sparsight.graceSeconds" -}}
{{- add .Values.gateway.drainSeconds (int64 (default 30 .Values.gateway.settings.shutdown_timeout_s)) 10 }}
{{- end }}

{{- define "sparsight.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "sparsight.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* A container that gets a GPU: NVIDIA's runtime writes the linker's cache into the root file system. */ -}}
{{- define "sparsight.gpuContainerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: {{ not .Values.gpu.enabled }}
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Pods of a component spread over machines and zones, if they can: [context, component]. */ -}}
{{- define "sparsight.spread" -}}
{{- $component := index . 1 -}}
{{- $context := index . 0 -}}
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "sparsight.selector" $context | nindent 6 }}
      app.kubernetes.io/component: {{ $component }}
{{- end }}
{{- end }}
