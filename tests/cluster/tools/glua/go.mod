// The Lua of Argo CD, as a program: the tests run the health check of gitops/argocd in it. Version and sums pinned here, built by
// ../build. There is no Go file of ours.
module waybill.dev/tools/glua

go 1.26.0

tool github.com/yuin/gopher-lua/cmd/glua

require (
	github.com/chzyer/readline v0.0.0-20180603132655-2972be24d48e // indirect
	github.com/yuin/gopher-lua v1.1.2 // indirect
	golang.org/x/sys v0.0.0-20190204203706-41f3e6584952 // indirect
)
