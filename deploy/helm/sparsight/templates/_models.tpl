{{- /* Whether the models are copied into the pod: from an image or a store, or because plans are built beside them. */ -}}
{{- define "sparsight.modelsAreCopied" -}}
{{- if or (has .Values.models.source (list "image" "objectStorage")) .Values.gpu.enabled }}yes{{ end }}
{{- end }}

{{- define "sparsight.modelVolumes" -}}
{{- $copied := include "sparsight.modelsAreCopied" . -}}
{{- if $copied }}
- name: models
  emptyDir: {sizeLimit: {{ .Values.models.size }}}
{{- end }}
{{- $name := ternary "model-store" "models" (not (empty $copied)) }}
{{- if eq .Values.models.source "pvc" }}
- name: {{ $name }}
  persistentVolumeClaim: {claimName: {{ .Values.models.pvc.claim }}, readOnly: true}
{{- else if eq .Values.models.source "imageVolume" }}
- name: {{ $name }}
  image:
    reference: {{ include "sparsight.image" (list .Values.models.image .Chart.AppVersion) }}
    pullPolicy: {{ .Values.models.image.pullPolicy }}
{{- end }}
{{- end }}

{{- /* The folder of the models, as the containers mount it. */ -}}
{{- define "sparsight.modelMount" -}}
- name: models
  mountPath: {{ default "/models" .Values.gateway.settings.repository }}
  readOnly: true
  {{- if not (include "sparsight.modelsAreCopied" .) }}{{ include "sparsight.storeSubPath" . }}{{ end }}
{{- end }}
{{- define "sparsight.storeSubPath" -}}
{{- if eq .Values.models.source "imageVolume" }}
  {{- if ne .Values.models.path "/" }}
  subPath: {{ trimPrefix "/" .Values.models.path }}
  {{- end }}
{{- else if .Values.models.pvc.subPath }}
  subPath: {{ .Values.models.pvc.subPath }}
{{- end }}
{{- end }}

{{- /* Init containers that bring the models, in their order. */ -}}
{{- define "sparsight.modelContainers" -}}
{{- if include "sparsight.modelsAreCopied" . }}
- name: models
  {{- if eq .Values.models.source "objectStorage" }}
  {{- with .Values.models.objectStorage }}
  image: {{ include "sparsight.image" (list .image "") }}
  imagePullPolicy: {{ .image.pullPolicy }}
  command: [rclone, copy, --config=, --checksum, --transfers=8]
  args: {{ concat .extraArgs (list .url "/models") | toJson }}
  {{- if .secret }}
  envFrom: [{secretRef: {name: {{ .secret }}}}]
  {{- end }}
  {{- end }}
  {{- else if eq .Values.models.source "image" }}
  image: {{ include "sparsight.image" (list .Values.models.image .Chart.AppVersion) }}
  imagePullPolicy: {{ .Values.models.image.pullPolicy }}
  command: [cp, -R, {{ printf "%s/." (trimSuffix "/" .Values.models.path) }}, /models/]
  {{- else }}
  image: {{ include "sparsight.image" (list .Values.gpu.builder.image "") }}
  imagePullPolicy: {{ .Values.gpu.builder.image.pullPolicy }}
  command: [cp, -R, /model-store/., /models/]
  {{- end }}
  securityContext: {{- include "sparsight.containerSecurity" . | nindent 4 }}
  resources:
    requests: {{- toYaml .Values.models.copyResources.requests | nindent 6 }}
    limits: {{- toYaml .Values.models.copyResources.limits | nindent 6 }}
      ephemeral-storage: {{ .Values.models.size }} # also the pod's, which holds the copies
  volumeMounts:
    - {name: models, mountPath: /models}
    - {name: tmp, mountPath: /tmp}
    {{- if has .Values.models.source (list "pvc" "imageVolume") }}
    - name: model-store
      mountPath: /model-store
      readOnly: true
      {{- include "sparsight.storeSubPath" . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end }}

{{- /* Builds the plans that fit this GPU; does nothing where the store holds them. */ -}}
{{- define "sparsight.planContainer" -}}
{{- if .Values.gpu.enabled }}
- name: plans
  image: {{ include "sparsight.image" (list .Values.gpu.builder.image "") }}
  imagePullPolicy: {{ .Values.gpu.builder.image.pullPolicy }}
  command: [bash, /opt/sparsight/build_plans.sh, /models]
  securityContext: {{- include "sparsight.gpuContainerSecurity" . | nindent 4 }}
  resources:
    requests: {{- toYaml .Values.triton.resources.requests | nindent 6 }}
      {{ .Values.gpu.resourceName }}: {{ .Values.gpu.count }}
    limits: {{- toYaml .Values.triton.resources.limits | nindent 6 }}
      {{ .Values.gpu.resourceName }}: {{ .Values.gpu.count }}
  volumeMounts:
    - {name: models, mountPath: /models}
    - {name: tmp, mountPath: /tmp}
    - {name: build-plans, mountPath: /opt/sparsight, readOnly: true}
{{- end }}
{{- end }}
