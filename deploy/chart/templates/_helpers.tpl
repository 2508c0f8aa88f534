{{- define "dagsync.name" -}}
{{- default .Chart.Name .Values.nameOverride }}
{{- end }}

{{- /* 45 characters leave room for "-drift" and what a CronJob's pods are called. A name that is cut could be that of another
release, and all pods have that of the leader in their settings; so nothing is cut. */ -}}
{{- define "dagsync.fullname" -}}
{{- $name := include "dagsync.name" . }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- $full = default $full .Values.fullnameOverride }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,43}[a-z0-9])?$" $full) }}
{{- fail (printf "%q cannot be the name of a Service with -leader behind it (a letter, then up to 44 of a-z, 0-9 and -): set fullnameOverride" $full) }}
{{- end }}
{{- $full }}
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
{{- required "serviceAccount.name is needed without serviceAccount.create: the account `default` is every pod's" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "dagsync.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{- /* airflow.labels as a selector. */ -}}
{{- define "dagsync.airflow" -}}
{{- range $index, $name := keys .Values.airflow.labels | sortAlpha }}{{ if $index }},{{ end }}{{ $name }}={{ get $.Values.airflow.labels $name }}{{ end }}
{{- end }}

{{- /* What the leader's pod is selected by. */ -}}
{{- define "dagsync.leaderLabels" -}}
{{- toYaml (merge dict .Values.leader.labels .Values.airflow.labels) }}
{{- end }}

{{- /* Not empty when the check asks Kubernetes, and so needs an account with a Role. */ -}}
{{- define "dagsync.selector" -}}
{{- tpl (dig "fleet" "kubernetes" "selector" "" .Values.config) . }}
{{- end }}

{{- /* dagsync.yaml: what is in `config`, and the leader that this chart has a Service for. */ -}}
{{- define "dagsync.config" -}}
{{- $config := deepCopy .Values.config }}
{{- with include "dagsync.selector" . }}
{{- $_ := set $config.fleet.kubernetes "selector" . }}
{{- end }}
{{- if .Values.leader.create }}
{{- $url := printf "%s://%s:%v" (dig "fleet" "scheme" "http" $config) (include "dagsync.leader" .) (include "dagsync.port" .) }}
{{- $config = merge $config (dict "target" (dict "leader" (list $url))) }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{- define "dagsync.port" -}}
{{ dig "fleet" "port" 8466 .Values.config }}
{{- end }}
