@echo off
rem Builds Prefetch on Windows: JAVA_HOME must be a JDK 25 or newer. Uses the mvn on PATH; without one it downloads the
rem Maven that .mvn\wrapper\maven-wrapper.properties names, checks its SHA-512 and keeps it in %USERPROFILE%\.m2\wrapper.
setlocal
if not defined JAVA_HOME (
  echo Prefetch needs JDK 25 or newer: set JAVA_HOME to one. >&2
  exit /b 1
)
if not exist "%JAVA_HOME%\bin\javac.exe" (
  echo JAVA_HOME is "%JAVA_HOME%", which is not a JDK: set it to a JDK 25 or newer. >&2
  exit /b 1
)
set "MAVEN_CMD="
if not "%MVNW_DOWNLOAD%"=="true" for /f "delims=" %%i in ('where mvn.cmd 2^>nul') do if not defined MAVEN_CMD set "MAVEN_CMD=%%i"
if defined MAVEN_CMD goto run

for /f "usebackq delims=" %%i in (`powershell -NoProfile -ExecutionPolicy Bypass -Command ^
  "$ErrorActionPreference = 'Stop'; $ProgressPreference = 'SilentlyContinue';" ^
  "$properties = ConvertFrom-StringData (Get-Content -Raw '%~dp0.mvn\wrapper\maven-wrapper.properties');" ^
  "$url = $properties.distributionUrl; $sha = $properties.distributionSha512Sum; $file = $url.Substring($url.LastIndexOf('/') + 1);" ^
  "$name = $file -replace '-bin.tar.gz$', ''; $version = $name -replace '^apache-maven-', '';" ^
  "if ($env:MVNW_REPOURL) { $url = $env:MVNW_REPOURL.TrimEnd('/') + '/org/apache/maven/apache-maven/' + $version + '/' + $file };" ^
  "$base = if ($env:MAVEN_USER_HOME) { $env:MAVEN_USER_HOME } else { Join-Path $env:USERPROFILE '.m2' };" ^
  "$parent = Join-Path $base ('wrapper\dists\' + $name); $home2 = Join-Path $parent $sha.Substring(0, 16);" ^
  "if (-not (Test-Path (Join-Path $home2 'bin\mvn.cmd'))) {" ^
  "  $partial = Join-Path $parent ([guid]::NewGuid()); New-Item -ItemType Directory -Force $partial | Out-Null;" ^
  "  $archive = Join-Path $partial $file; Invoke-WebRequest -UseBasicParsing $url -OutFile $archive;" ^
  "  if ((Get-FileHash $archive -Algorithm SHA512).Hash -ne $sha) { Remove-Item -Recurse $partial; throw 'SHA-512 mismatch' };" ^
  "  tar -xzf $archive -C $partial; Move-Item (Join-Path $partial $name) $home2; Remove-Item -Recurse $partial };" ^
  "Join-Path $home2 'bin\mvn.cmd'"`) do set "MAVEN_CMD=%%i"
if not defined MAVEN_CMD (
  echo Maven could not be downloaded: install Maven 3.8 or newer, or set MVNW_REPOURL to a mirror. >&2
  exit /b 1
)

:run
call "%MAVEN_CMD%" %*
exit /b %ERRORLEVEL%
