{{- /* Values that contradict each other. */ -}}
{{- define "sparsight.check" -}}
{{- if and .Values.gateway.tls.clientCa (not .Values.gateway.settings.admin_port) }}
  {{- fail "gateway.tls.clientCa needs gateway.settings.admin_port: the kubelet's probes have no client certificate" }}
{{- end }}
{{- if and .Values.gpu.enabled (eq .Values.layout "alone") }}
  {{- fail "gpu.enabled needs Triton: set layout to together or apart" }}
{{- end }}
{{- if and .Values.triton.sharedMemory (ne .Values.layout "together") }}
  {{- fail "triton.sharedMemory needs layout together: memory is shared inside a pod only" }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
  {{- fail "httpRoute.parentRefs must name the Gateway of your cluster" }}
{{- end }}
{{- if and (eq .Values.autoscaling.kind "hpa") (not .Values.monitoring.rules) }}
  {{- fail "autoscaling.kind hpa needs monitoring.rules: Prometheus records there what is scaled by" }}
{{- end }}
{{- if and .Values.gateway.access.secret .Values.monitoring.serviceMonitor (not .Values.monitoring.accessKey.secret) }}
  {{- fail "gateway.access.secret closes /metrics: name a Secret with a key of the scope metrics in monitoring.accessKey" }}
{{- end }}
{{- if gt (int .Values.autoscaling.min) (int .Values.autoscaling.max) }}
  {{- fail "autoscaling.min is larger than autoscaling.max" }}
{{- end }}
{{- end }}

{{- /* Where pods run: [context, values of the component, its name, whether it gets a GPU]. */ -}}
{{- define "sparsight.placement" -}}
{{- $values := index . 1 -}}
{{- $gpu := (index . 0).Values.gpu -}}
{{- $withGpu := index . 3 -}}
topologySpreadConstraints: {{- include "sparsight.spread" (list (index . 0) (index . 2)) | nindent 2 }}
{{- if and $withGpu $gpu.runtimeClassName }}
runtimeClassName: {{ $gpu.runtimeClassName }}
{{- end }}
{{- with merge (dict) $values.nodeSelector (ternary $gpu.nodeSelector (dict) $withGpu) }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat $values.tolerations (ternary $gpu.tolerations (list) $withGpu) }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "sparsight.tritonVolumes" -}}
- {name: shm, emptyDir: {medium: Memory, sizeLimit: {{ .Values.triton.sharedMemorySize }}}}
{{- if .Values.gpu.enabled }}
- {name: build-plans, configMap: {name: {{ include "sparsight.fullname" . }}-build-plans}}
{{- end }}
{{- end }}
