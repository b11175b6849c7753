{{- define "sparsight.gatewayContainer" -}}
{{- $settings := .Values.gateway.settings -}}
- name: gateway
  image: {{ include "sparsight.image" (list .Values.gateway.image .Chart.AppVersion) }}
  imagePullPolicy: {{ .Values.gateway.image.pullPolicy }}
  command: [python, -m, service]
  env: {{- include "sparsight.env" . | nindent 4 }}
  ports:
    - {name: http, containerPort: {{ $settings.port }}}
    {{- if $settings.admin_port }}
    - {name: admin, containerPort: {{ $settings.admin_port }}}
    {{- end }}
  startupProbe:
    {{- include "sparsight.httpGet" (list . "/healthz") | nindent 4 }}
    periodSeconds: 2
    timeoutSeconds: 2
    failureThreshold: {{ div (add .Values.gateway.startupSeconds 1) 2 }}
  livenessProbe:
    {{- include "sparsight.httpGet" (list . "/healthz") | nindent 4 }}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 3
  # 503 from SIGTERM on, and while no backend can run the default model.
  readinessProbe:
    {{- include "sparsight.httpGet" (list . "/readyz") | nindent 4 }}
    periodSeconds: 5
    timeoutSeconds: 4
    failureThreshold: 2
  # The pod leaves the Service first; the gateway still takes what is on its way.
  lifecycle: {preStop: {sleep: {seconds: {{ .Values.gateway.drainSeconds }}}}}
  securityContext: {{- include "sparsight.containerSecurity" . | nindent 4 }}
  resources: {{- toYaml .Values.gateway.resources | nindent 4 }}
  volumeMounts:
    {{- include "sparsight.modelMount" . | nindent 4 }}
    - {name: tmp, mountPath: /tmp}
    {{- if and (eq .Values.layout "together") .Values.triton.sharedMemory }}
    - {name: shm, mountPath: /dev/shm}
    {{- end }}
    {{- if .Values.gateway.access.secret }}
    - {name: access, mountPath: /etc/sparsight/access, readOnly: true}
    {{- end }}
    {{- if .Values.gateway.tls.secret }}
    - {name: tls, mountPath: /etc/sparsight/tls, readOnly: true}
    {{- end }}
{{- end }}

{{- define "sparsight.tritonContainer" -}}
{{- $ports := include "sparsight.tritonPorts" . | fromJson -}}
{{- $together := eq .Values.layout "together" -}}
- name: triton
  image: {{ include "sparsight.image" (list .Values.triton.image (printf "%s-25.10" .Chart.AppVersion)) }}
  imagePullPolicy: {{ .Values.triton.image.pullPolicy }}
  {{- if $together }}
  restartPolicy: Always # a sidecar: it ends after the gateway, which still needs it while it drains
  {{- end }}
  command:
    - tritonserver
    - --model-repository=/models
    - --model-control-mode=explicit
    - --load-model=*
    - --disable-auto-complete-config
    - --exit-on-error=false
    - --strict-readiness=false
  args:
    # HTTP can load and unload models, so it is for this pod only.
    - --http-address=127.0.0.1
    - --http-port={{ $ports.http }}
    - --grpc-address={{ ternary "127.0.0.1" "0.0.0.0" $together }}
    - --grpc-port={{ $ports.grpc }}
    - --metrics-address=0.0.0.0
    - --metrics-port={{ $ports.metrics }}
    {{- range .Values.triton.extraArgs }}
    - {{ . | quote }}
    {{- end }}
  ports:
    {{- if not $together }}
    - {name: grpc, containerPort: {{ $ports.grpc }}}
    {{- end }}
    - {name: metrics, containerPort: {{ $ports.metrics }}}
  {{- $ask := "import urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:%d/v2/health/%s', timeout=4)" }}
  livenessProbe:
    exec: {command: [python3, -c, {{ printf $ask (int $ports.http) "live" | quote }}]}
    {{- if $together }}
    # No startup probe: the gateway would wait for it, and it serves by itself until Triton comes.
    initialDelaySeconds: {{ .Values.triton.startupSeconds }}
    {{- end }}
    periodSeconds: 15
    timeoutSeconds: 8
    failureThreshold: 4
  {{- if not $together }}
  startupProbe:
    exec: {command: [python3, -c, {{ printf $ask (int $ports.http) "ready" | quote }}]}
    periodSeconds: 5
    timeoutSeconds: 8
    failureThreshold: {{ div (add .Values.triton.startupSeconds 4) 5 }}
  readinessProbe:
    exec: {command: [python3, -c, {{ printf $ask (int $ports.http) "ready" | quote }}]}
    periodSeconds: 5
    timeoutSeconds: 8
    failureThreshold: 2
  lifecycle: {preStop: {sleep: {seconds: 5}}}
  {{- end }}
  securityContext:
    {{- include "sparsight.gpuContainerSecurity" . | nindent 4 }}
    {{- if not .Values.triton.sharedMemory }}
    runAsUser: 1000 # the user of Triton's image
    {{- end }}
  resources:
    requests: {{- toYaml .Values.triton.resources.requests | nindent 6 }}
      {{- if .Values.gpu.enabled }}
      {{ .Values.gpu.resourceName }}: {{ .Values.gpu.count }}
      {{- end }}
    limits: {{- toYaml .Values.triton.resources.limits | nindent 6 }}
      {{- if .Values.gpu.enabled }}
      {{ .Values.gpu.resourceName }}: {{ .Values.gpu.count }}
      {{- end }}
  volumeMounts:
    - name: models
      mountPath: /models
      readOnly: true
      {{- if not (include "sparsight.modelsAreCopied" .) }}{{ include "sparsight.storeSubPath" . | nindent 4 }}{{ end }}
    - {name: tmp, mountPath: /tmp}
    - {name: shm, mountPath: /dev/shm}
{{- end }}
