{{- define "dagsync.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* 45 characters leave room for "-drift" and what a CronJob's pods are called. */ -}}
{{- define "dagsync.fullname" -}}
{{- $name := include "dagsync.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 45 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "dagsync.drift" -}}
{{ include "dagsync.fullname" . }}-drift
{{- end }}

{{- define "dagsync.leader" -}}
{{ include "dagsync.fullname" . }}-leader
{{- end }}

{{- define "dagsync.selectorLabels" -}}
app.kubernetes.io/name: {{ include "dagsync.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dagsync.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "dagsync.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "dagsync.driftLabels" -}}
{{ include "dagsync.selectorLabels" . }}
app.kubernetes.io/component: drift
{{- end }}

{{- define "dagsync.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "dagsync.drift" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "dagsync.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{- /* Not empty when the check asks Kubernetes, and so needs an account with a Role. */ -}}
{{- define "dagsync.asksKubernetes" -}}
{{- with .Values.config.fleet }}{{ with .kubernetes }}{{ .selector }}{{ end }}{{ end }}
{{- end }}

{{- /* dagsync.yaml: what is in `config`, and the leader that this chart has a Service for. */ -}}
{{- define "dagsync.config" -}}
{{- $config := deepCopy .Values.config }}
{{- if .Values.leader.create }}
{{- $url := printf "%s://%s:%v" (dig "fleet" "scheme" "http" $config) (include "dagsync.leader" .) (include "dagsync.port" .) }}
{{- $config = merge $config (dict "target" (dict "leader" (list $url))) }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{- define "dagsync.port" -}}
{{ dig "fleet" "port" 8466 .Values.config }}
{{- end }}
