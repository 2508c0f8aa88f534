{{- /* The pod of the check, for CronJob and Deployment. */ -}}
{{- define "dagsync.pod" -}}
metadata:
  labels:
    {{- /* The check's own win: a Deployment selects by them. */}}
    {{- merge (include "dagsync.driftLabels" . | fromYaml) .Values.podLabels | toYaml | nindent 4 }}
  {{- $watches := eq .Values.mode "watch" }}
  {{- if or $watches .Values.podAnnotations }}
  annotations:
    {{- if $watches }}
    checksum/config: {{ include "dagsync.config" . | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
spec:
  restartPolicy: {{ ternary "Always" "Never" $watches }}
  serviceAccountName: {{ include "dagsync.serviceAccountName" . }}
  automountServiceAccountToken: {{ not (empty (include "dagsync.selector" .)) }}
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  containers:
    - name: dagsync
      image: {{ include "dagsync.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [/usr/bin/dagsync]
      args: [drift, --config, /etc/dagsync/dagsync.yaml{{ if $watches }}, --watch{{ end }}]
      {{- with .Values.env }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      terminationMessagePolicy: FallbackToLogsOnError
      volumeMounts:
        - {name: config, mountPath: /etc/dagsync, readOnly: true}
        {{- if .Values.secrets }}
        - {name: secrets, mountPath: /secrets, readOnly: true}
        {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ include "dagsync.drift" . }}}
    {{- if .Values.secrets }}
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          {{- range .Values.secrets }}
          - secret: {name: {{ . }}}
          {{- end }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
