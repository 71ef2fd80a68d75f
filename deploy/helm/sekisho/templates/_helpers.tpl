{{- define "sekisho.fullname" -}}
{{- if contains "sekisho" .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-sekisho" .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Of objects that are in no namespace, or in others. */ -}}
{{- define "sekisho.clusterName" -}}
{{ .Release.Namespace }}:{{ include "sekisho.fullname" . }}
{{- end -}}

{{- define "sekisho.selector" -}}
app.kubernetes.io/name: sekisho
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end -}}

{{- define "sekisho.labels" -}}
app.kubernetes.io/name: sekisho
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "sekisho.serviceAccount" -}}
{{ default (ternary (include "sekisho.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end -}}

{{- define "sekisho.subjects" -}}
- kind: ServiceAccount
  name: {{ include "sekisho.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{- /* sekisho.json: what the chart makes, and `config` over it. */ -}}
{{- define "sekisho.config" -}}
{{- $fullname := include "sekisho.fullname" . -}}
{{- $given := .Values.config -}}
{{- if dig "limits" "drainTimeout" "" $given }}{{ fail "config.limits.drainTimeout: set drain.timeoutSeconds instead, which the pod's time to end goes by" }}{{ end -}}
{{- if hasKey $given "ports" }}{{ fail "config.ports: set ports instead, which the Service goes by" }}{{ end -}}
{{- if hasKey (dig "kubernetes" dict $given) "gatewayServices" }}{{ fail "config.kubernetes.gatewayServices: set gatewayServices instead, which the ClusterRole goes by" }}{{ end -}}
{{- $ports := dict -}}
{{- range .Values.ports }}{{ $_ := set $ports (printf "%d" (int .port)) (int .bound) }}{{ end -}}
{{- $gateway := dict "className" "sekisho" "controllerName" "sekisho.dev/gateway-controller" -}}
{{- if not (dig "gateway" "published" "" $given) }}{{ $_ := set $gateway "service" (printf "%s/%s" .Release.Namespace $fullname) }}{{ end -}}
{{- $config := dict "resources" (list "kubernetes:") "kubernetes" (dict "lease" $fullname "gatewayServices" .Values.gatewayServices) "gateway" $gateway "ports" $ports "admin" (dict "probes" "0.0.0.0:15020") "limits" (dict "drainTimeout" (printf "%ds" (int .Values.drain.timeoutSeconds))) -}}
{{- if not (and .Values.plugins.istio .Values.plugins.gatewayApi) -}}
{{- $routes := list -}}
{{- if .Values.plugins.istio }}{{ $routes = append $routes (dict "name" "istio" "path" "builtin:istio") }}{{ end -}}
{{- if .Values.plugins.gatewayApi }}{{ $routes = append $routes (dict "name" "gateway-api" "path" "builtin:gateway-api") }}{{ end -}}
{{- $_ := set $config "plugins" (dict "routes" $routes) -}}
{{- end -}}
{{- $config = mergeOverwrite $config (deepCopy $given) -}}
{{- if and (hasKey $config "plugins") (not (dig "plugins" "routes" list $config)) }}{{ fail "plugins: with both dialects off, name a plugin in config.plugins.routes" }}{{ end -}}
{{- $config | toJson -}}
{{- end -}}

{{- define "sekisho.probesPort" -}}
{{ (include "sekisho.config" . | fromJson).admin.probes | regexFind "[0-9]+$" }}
{{- end -}}
